//! Hand-overs: where each conversation is on its way to an agent and back.
//!
//! | module | owns |
//! |---|---|
//! | [`fact`] | what 8x8's life-cycle events say |
//! | [`state`] | what the facts of a conversation add up to |
//! | [`table`] | the DynamoDB table that keeps them |

pub mod fact;
pub mod state;
pub mod table;
