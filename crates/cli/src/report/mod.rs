//! Answers as they are printed: one serde document for programs, one table for people.
//!
//! The JSON field names are part of the tool's interface (docs/cli.md). Every
//! document has `results` and `errors`; an item stands in exactly one of the two,
//! and `index` is its place in the input, from 0.

mod bench;
mod fleet;
mod labels;
mod scores;
mod timings;
mod tokens;
mod vectors;

pub(crate) use fleet::{LimitsRow, ModelList, ModelRow, ProbeRow, Probes};
pub(crate) use labels::{ClassHead, ClassRow, SpanRow, TagHead, TagRow};
pub(crate) use scores::{ScoreHead, ScoreRow};
pub(crate) use timings::{ChunkRow, Timings};
pub(crate) use tokens::{TokenHead, TokenRow};
pub(crate) use vectors::{MatrixHead, MatrixRow, SparseHead, SparseRow, VectorHead, VectorRow};

use serde::Serialize;
use serde_json::Value;

use crate::screen::Screen;

/// Something that can be printed.
pub(crate) trait PrintedAnswer: Serialize {
    /// For people.
    fn table(&self, screen: Screen) -> String;

    /// Items that failed, for the exit code and for standard error.
    fn failures(&self) -> &[ItemFailure] {
        &[]
    }

    /// What people should know before they trust the numbers.
    fn warning(&self) -> Option<String> {
        None
    }
}

/// One item that could not be answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ItemFailure {
    /// Place in the input.
    pub(crate) index: usize,
    /// The caller's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<Value>,
    /// A stable word.
    pub(crate) reason: String,
    /// A sentence.
    pub(crate) message: String,
}

/// What every row says beside its numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ItemRow {
    /// Place in the input.
    pub(crate) index: usize,
    /// The caller's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<Value>,
    /// Tokens used, specials included.
    pub(crate) tokens: u32,
    /// Whether it was cut to fit.
    pub(crate) truncated: bool,
    /// How many windows it was read in, where windows were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) windows: Option<u32>,
    /// What a table shows of it.
    #[serde(skip)]
    pub(crate) label: String,
}

impl ItemRow {
    /// The id, or the place where there is none.
    fn name(&self) -> String {
        match &self.id {
            Some(Value::String(id)) => id.clone(),
            Some(id) => id.to_string(),
            None => self.index.to_string(),
        }
    }

    /// Tokens, with a mark where the item was cut or read in several windows.
    fn size(&self) -> String {
        match self.windows {
            Some(windows) if windows > 1 => format!("{} ({windows} windows)", self.tokens),
            _ => format!("{}{}", self.tokens, if self.truncated { " (cut)" } else { "" }),
        }
    }
}

/// The answer to one job: `H` holds what is said once, `R` what is said per item.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CommandReport<H, R> {
    /// Model that answered.
    pub(crate) model: String,
    /// Its revision; several where `mixed_revisions`.
    pub(crate) model_revision: String,
    /// Whether chunks were answered by different revisions: their numbers may not compare.
    pub(crate) mixed_revisions: bool,
    /// What is said once.
    #[serde(flatten)]
    pub(crate) head: H,
    /// Items answered.
    pub(crate) results: Vec<R>,
    /// Items that failed.
    pub(crate) errors: Vec<ItemFailure>,
    /// With `--timings`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timings: Option<Timings>,
}

impl<H, R> CommandReport<H, R> {
    /// The same with other rows.
    pub(crate) fn map<S>(self, rows: impl FnOnce(Vec<R>) -> Vec<S>) -> CommandReport<H, S> {
        let Self { model, model_revision, mixed_revisions, head, results, errors, timings } = self;
        CommandReport { model, model_revision, mixed_revisions, head, results: rows(results), errors, timings }
    }
}

/// A table of one kind of report.
pub(crate) trait ResultRows<H>: Serialize + Sized {
    /// The results for people.
    fn table(head: &H, rows: &[Self], screen: Screen) -> String;
}

impl<H: Serialize, R: ResultRows<H>> PrintedAnswer for CommandReport<H, R> {
    fn table(&self, screen: Screen) -> String {
        let mut text =
            if self.results.is_empty() { String::new() } else { R::table(&self.head, &self.results, screen) };
        if let Some(timings) = &self.timings {
            text.push('\n');
            text.push_str(&timings.table(screen));
        }
        text
    }

    fn failures(&self) -> &[ItemFailure] {
        &self.errors
    }

    fn warning(&self) -> Option<String> {
        let revisions = &self.model_revision;
        self.mixed_revisions
            .then(|| format!("different revisions of the model answered: {revisions}; their numbers may not compare"))
    }
}

/// A score as people read it: four places.
fn score(value: f32) -> String {
    format!("{value:.4}")
}

/// A text unless it is empty.
fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
