//! Labels that come with a request, tokenized once by whichever thread reads its first text.

use std::sync::OnceLock;

use sortie_engine::{EncodeOptions, InputError, LabelPrompt, Tokenizer};
use sortie_proto::v1::{Input, input::Kind};

use super::input::ParsedInput;

/// The labels of a request.
#[derive(Debug)]
pub(crate) struct RequestLabels {
    asked: Vec<String>,
    prompt: OnceLock<Result<LabelPrompt, InputError>>,
}

impl RequestLabels {
    /// None of them read yet.
    pub(crate) fn new(asked: Vec<String>) -> Self {
        Self { asked, prompt: OnceLock::new() }
    }

    /// Their tokens.
    pub(super) fn prompt(&self, tokenizer: &Tokenizer) -> Result<&LabelPrompt, InputError> {
        self.prompt.get_or_init(|| tokenizer.label_prompt(&self.asked)).as_ref().map_err(InputError::clone)
    }

    /// Each once, in the order of scores; none before they were read.
    pub(crate) fn names(&self) -> &[String] {
        self.read().map_or(&[], LabelPrompt::labels)
    }

    /// Their tokens; 0 before they were read.
    pub(super) fn tokens(&self) -> usize {
        self.read().map_or(0, LabelPrompt::tokens)
    }

    fn read(&self) -> Option<&LabelPrompt> {
        self.prompt.get().and_then(|prompt| prompt.as_ref().ok())
    }
}

impl ParsedInput {
    /// What stands beside each text of a request with these labels, for an estimate of its tokens.
    pub(crate) fn labels(labels: &[String]) -> Self {
        let input = Input { kind: Some(Kind::Text(labels.join(" "))) };
        Self { input, prompt: None, fit: EncodeOptions::default(), stride: None }
    }
}
