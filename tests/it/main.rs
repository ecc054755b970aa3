//! The sentences of the contract, each shown to hold on the real binaries.

mod adoption;
mod browser;
#[cfg(target_os = "linux")]
mod cached;
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
mod edits_at_8x8;
mod http_events;
mod issue_token;
mod layers;
mod manage_dead_letters;
mod real_runtime;
mod receive_message;
mod recording;
mod refresh_tokens;
mod register_channel;
mod rotate_signing_key;
mod signature;
mod stand_in;
mod support;
mod template;
mod two_stacks;
mod whole_path;
