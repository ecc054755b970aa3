//! The sentences of the contract, each shown to hold on the real binaries.

mod adoption;
mod browser;
mod callers;
mod configuration;
mod conformance;
mod console;
mod contact_center;
mod converse;
mod custom_resource;
mod deliver_message;
mod deliver_message_tokens;
mod documentation;
mod http_events;
mod issue_token;
mod real_runtime;
mod receive_message;
mod recording;
mod refresh_tokens;
mod register_channel;
mod signature;
mod stand_in;
mod support;
mod template;
mod whole_path;
