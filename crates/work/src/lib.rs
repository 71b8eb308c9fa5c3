//! What both ends of the wire say of work: the [`Lane`] it waits in, how many tokens a text will have
//! ([`TokenRatio`]), what a text of so many tokens counts as ([`WorkCurve`]), and what a batch costs ([`Cost`]).
//!
//! Plain numbers, without a dependency: the decisions of the client and of the server's queue rest on them alike.

#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

mod cost;
mod curve;
mod lane;
mod tokens;

pub use cost::Cost;
pub use curve::{Amount, WorkCurve};
pub use lane::Lane;
pub use tokens::{MAX_WINDOWS, SPECIAL_TOKENS, SequenceRule, TOKENS_PER_BYTE, TextSize, TokenRatio};
