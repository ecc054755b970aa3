//! All of 8x8 Contact Center: its events and how they prove where they come from, its API, and how one logs in there.

pub mod authentication;
pub mod callback;
pub mod client;
pub mod config;
pub mod conversation;
pub mod drift;
pub mod event;
pub mod keys;
pub(crate) mod members;
mod probe;
pub mod problem;
pub mod registration;
pub mod saved;
pub mod signature;
