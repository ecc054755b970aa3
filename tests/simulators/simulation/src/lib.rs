//! The parts that the simulators share: servers and a client on loopback, faults, ids, and the journal of what happens between
//! the parts.
//!
//! | module | content |
//! |---|---|
//! | [`server`], [`client`] | HTTP on loopback, with connections that can be dropped |
//! | [`control`] | the shared code of the control APIs: access control, errors, faults |
//! | [`faults`] | faults, and when they strike |
//! | [`journal`] | the journal, with a line for each hop |
//! | [`id`] | ids in the form of the simulated systems |

pub mod client;
pub mod control;
pub mod faults;
pub mod id;
pub mod journal;
pub mod server;
