//! What a request used, as OpenAI counts it.

use serde::Serialize;
use utoipa::ToSchema;

/// Tokens that a request used.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: u64,
    pub(crate) total_tokens: u64,
}

impl Usage {
    pub(crate) fn of(tokens: u64) -> Self {
        Self { prompt_tokens: tokens, total_tokens: tokens }
    }
}
