//! Items that failed while others have their answer. No dialect has a place for them: the request fails with the first
//! one's index, unless the caller takes partial answers.

use sortie_proto::v1::ItemInfo;

use super::{FailureKind, HttpFailure};

/// What became of a request's items.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate {
    /// Tokens that all used, specials included.
    pub(crate) tokens: u64,
    /// Items that were cut, in order.
    pub(crate) truncated: Vec<u32>,
    /// Items without an answer, in order; empty unless partial answers are taken.
    pub(crate) failed: Vec<u32>,
}

impl Fate {
    /// Adds items that were cut before they were sent.
    pub(crate) fn also_truncated(&mut self, more: Vec<u32>) {
        self.truncated.extend(more);
        self.truncated.sort_unstable();
        self.truncated.dedup();
    }

    /// Whether an item has no answer.
    pub(crate) fn is_failed(&self, index: usize) -> bool {
        u32::try_from(index).is_ok_and(|index| self.failed.binary_search(&index).is_ok())
    }
}

/// Reads the facts of the items of `field`.
///
/// # Errors
/// For the first item that failed, unless `partial` answers are taken and one item has its answer.
pub(crate) fn check_items(
    items: Option<&ItemInfo>,
    count: usize,
    field: &str,
    partial: bool,
) -> Result<Fate, HttpFailure> {
    let Some(items) = items else { return Ok(Fate::default()) };
    let mut failed: Vec<u32> =
        items.errors.iter().map(|error| error.index).filter(|index| (*index as usize) < count).collect();
    failed.sort_unstable();
    failed.dedup();
    if let Some(first) = items.errors.iter().min_by_key(|error| error.index)
        && (!partial || failed.len() >= count)
    {
        let others = match failed.len().saturating_sub(1) {
            0 => String::new(),
            others => format!(" ({others} more failed)"),
        };
        let place = format!("{field}[{}]", first.index);
        let message = format!("`{place}`: {}{others}", first.message);
        return Err(HttpFailure::new(of_item(&first.reason), message).at(place));
    }
    let cut = (0..).zip(&items.truncated).filter(|(_, cut)| **cut).map(|(index, _)| index).collect();
    Ok(Fate { tokens: items.tokens.iter().map(|n| u64::from(*n)).sum(), truncated: cut, failed })
}

/// What an item's reason means for the request.
fn of_item(reason: &str) -> FailureKind {
    match reason {
        "TOKENIZER_FAILED" => FailureKind::Tokenizer,
        "BAD_SEQUENCE" | "NON_FINITE_OUTPUT" | "RUN_FAILED" => FailureKind::Backend,
        _ => FailureKind::Validation,
    }
}
