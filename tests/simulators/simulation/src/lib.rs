//! What the simulators are made of: servers and a client on loopback, faults, ids, and the journal of what happens between
//! the parts.
//!
//! | module | what it has |
//! |---|---|
//! | [`server`], [`client`] | HTTP on loopback, with connections that can be dropped |
//! | [`control`] | what the control APIs of the simulators share: who may call them, errors, faults |
//! | [`faults`] | what goes wrong, and when |
//! | [`journal`] | what is seen, a line for each hop |
//! | [`id`] | ids as the simulated systems give them |

pub mod client;
pub mod control;
pub mod faults;
pub mod id;
pub mod journal;
pub mod server;
