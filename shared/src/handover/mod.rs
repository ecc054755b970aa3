//! Hand-overs: the state of each conversation on its way to an agent and back.
//!
//! | module | owns |
//! |---|---|
//! | [`fact`] | what 8x8's life-cycle events say |
//! | [`state`] | the state that follows from the facts of a conversation |
//! | [`table`] | the DynamoDB table that stores them |

pub mod fact;
pub mod state;
pub mod table;
