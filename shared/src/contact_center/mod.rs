//! 8x8 Contact Center: its events and their verification, its API, and how the bridge logs in there.

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
