//! What the functions cost.
//!
//! | module | does |
//! |---|---|
//! | [`operations`] | the pure paths, to be measured |
//! | [`pure`] | their time, by criterion |
//! | [`callgrind`] | their instructions, and those of a function for an event |
//! | [`emulator`], [`cold`] | starts and warm invocations under AWS's Runtime Interface Emulator |
//! | [`peers`] | receive-message's job in Python and in Node.js, measured beside it |
//! | [`whole_path`] | the set in the sandbox, under load |
//! | [`stuck`] | one conversation that is stuck, and what the others notice |
//! | [`detour`] | what the bridge adds to a bot's message |
//! | [`recovery`] | the end of an outage of the bot platform |
//! | [`cost`] | what that comes to on AWS |
//! | [`targets`] | what was to be reached, and whether it is |
//! | [`report`], [`plot`] | tables and pictures |
//! | [`events`], [`process`], [`statistics`] | what each function is invoked with; what the kernel reports; medians |

pub mod callgrind;
pub mod cold;
pub mod cost;
pub mod detour;
pub mod emulator;
pub mod events;
pub mod operations;
pub mod peers;
pub mod plot;
pub mod process;
pub mod pure;
pub mod recovery;
pub mod report;
pub mod statistics;
pub mod stuck;
pub mod targets;
pub mod whole_path;
