//! Why one item has no answer while its siblings have theirs.

use sortie_engine::{InputError, ItemFault};
use sortie_proto::v1::ItemError;

/// One item's refusal: a stable word and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ItemRefusal {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl ItemRefusal {
    /// A text over `max_text_bytes`.
    pub(crate) fn text_too_large(bytes: usize, limit: u64) -> Self {
        Self { reason: "TEXT_TOO_LARGE", message: format!("the text has {bytes} bytes; max_text_bytes is {limit}") }
    }

    /// An input of a kind that this RPC does not take here.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self { reason: "UNSUPPORTED_INPUT", message: message.into() }
    }

    /// A number that the asked-for format cannot hold.
    pub(crate) fn overflow() -> Self {
        Self { reason: "NON_FINITE_OUTPUT", message: "a number is too large for f16; ask for f32".to_owned() }
    }

    /// The refusal of item `index` as it is sent.
    pub(crate) fn at(&self, index: usize) -> ItemError {
        ItemError {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            reason: self.reason.to_owned(),
            message: self.message.clone(),
        }
    }
}

impl From<InputError> for ItemRefusal {
    fn from(error: InputError) -> Self {
        Self { reason: error.reason(), message: error.to_string() }
    }
}

impl From<&ItemFault> for ItemRefusal {
    fn from(fault: &ItemFault) -> Self {
        let reason = match fault {
            ItemFault::NonFinite => "NON_FINITE_OUTPUT",
            ItemFault::BadSequence(_) => "BAD_SEQUENCE",
            ItemFault::WrongWant(_) => "UNSUPPORTED_OUTPUT",
            _ => "RUN_FAILED",
        };
        Self { reason, message: fault.to_string() }
    }
}
