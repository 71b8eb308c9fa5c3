//! Where servers come from beside the fixed ones: a name that is looked up again and
//! again, or a list that the program feeds.
//!
//! A server that is named no longer is drained: it gets nothing new, what it has runs
//! on. A lookup that fails or finds nothing changes nothing: a name service that is
//! down must not take the fleet with it.

mod follow;
mod name;
mod source;

pub(crate) use follow::run;
pub use source::{Discovery, LOOKUP_PERIOD, MIN_LOOKUP_GAP};
