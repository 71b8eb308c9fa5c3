//! Why a request has no answer. What kind of failure it is decides the status ([`FailureKind::status`]); the dialect decides the
//! form of the body ([`Form`]).

mod form;
mod item;
mod kind;
mod status;

pub(crate) use form::Form;
pub(crate) use item::{Fate, check_items};
pub(crate) use kind::FailureKind;

use crate::reply::Load;

/// Whether, and when, the same request may come again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RetryAdvice {
    /// The status says it.
    #[default]
    Silent,
    /// It would fail again.
    Never,
    /// After this many milliseconds.
    AfterMs(u64),
}

/// One refusal or failure.
#[derive(Clone, Debug)]
pub(crate) struct HttpFailure {
    pub(crate) kind: FailureKind,
    /// A sentence for people.
    pub(crate) message: String,
    /// The field at fault, as the dialect names it.
    pub(crate) field: Option<String>,
    pub(crate) retry: RetryAdvice,
    /// The load report that came with it.
    pub(crate) load: Option<Load>,
    /// The form, where the body decided the dialect and not the path.
    pub(crate) form: Option<Form>,
}

impl HttpFailure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), field: None, retry: RetryAdvice::Silent, load: None, form: None }
    }

    /// A field whose value makes no sense or is not served.
    pub(crate) fn field(field: impl Into<String>, message: impl AsRef<str>) -> Self {
        let field = field.into();
        Self::new(FailureKind::Validation, format!("`{field}`: {}", message.as_ref())).at(field)
    }

    /// A field that must have something in it.
    pub(crate) fn empty(field: &str) -> Self {
        Self::new(FailureKind::Empty, format!("`{field}` cannot be empty")).at(field)
    }

    /// Names the field.
    pub(crate) fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The service answered another number of items than it was sent.
    pub(crate) fn other_count(answered: usize, asked: usize) -> Self {
        Self::new(FailureKind::Backend, format!("the service gave {answered} answers where {asked} were asked for"))
    }

    /// Says which part of the body failed.
    pub(crate) fn within(mut self, part: &str) -> Self {
        self.message = format!("`{part}`: {}", self.message);
        self.field = Some(match self.field {
            Some(field) => format!("{part}.{field}"),
            None => part.to_owned(),
        });
        self
    }

    /// The form, where the path does not say it.
    pub(crate) fn in_form(mut self, form: Form) -> Self {
        self.form.get_or_insert(form);
        self
    }

    /// Says a field of the contract by the name that the dialect has for it.
    pub(crate) fn renamed(mut self, names: &[(&str, &str)]) -> Self {
        let Some(field) = &self.field else { return self };
        let (stem, place) = field.split_at(field.find('[').unwrap_or(field.len()));
        let Some((theirs, ours)) = names.iter().find(|(theirs, _)| *theirs == stem) else { return self };
        if let Some(rest) = self.message.strip_prefix(theirs) {
            self.message = format!("`{ours}`{rest}");
        }
        self.field = Some(format!("{ours}{place}"));
        self
    }
}
