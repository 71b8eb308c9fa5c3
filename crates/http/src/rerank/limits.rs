//! Limits in tokens of one side of a pair. The contract has one limit, that of the whole sequence; what it cannot say is
//! said with the tokenizer's help where that is exact, and refused by name where it is not.

use sortie_proto::v1::{
    Input, ModelInfo, Task, TextOptions, TextPair, TokenizeRequest, Truncation, input::Kind as InputKind,
};

use super::work::RerankWork;
use crate::{
    door::Door,
    failure::{HttpFailure, check_items},
    request::{Caller, max_length},
};

/// What a body asks for; absent and, but for `prompt`, zero is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DocumentLimits {
    /// Tokens of the whole sequence; -1 is the model's own limit.
    pub(super) prompt: Option<i64>,
    /// Tokens of a document.
    pub(super) document: Option<i64>,
    /// Tokens of the query.
    pub(super) query: Option<i64>,
    /// Windows of a document.
    pub(super) chunks: Option<i64>,
}

/// Writes the limits into `job`.
pub(super) async fn apply(
    door: &Door,
    caller: &Caller,
    model: &ModelInfo,
    limits: DocumentLimits,
    job: &mut RerankWork,
) -> Result<(), HttpFailure> {
    job.options.max_length = max_length("truncate_prompt_tokens", limits.prompt)?;
    let longest = match job.options.max_length {
        0 => model.max_length,
        length => length,
    };
    let chunks = count("max_chunks_per_doc", limits.chunks)?;
    // A single chunk is what is read anyway.
    job.windows = chunks.filter(|chunks| *chunks > 1);
    let document = count("max_tokens_per_doc", limits.document)?.filter(|tokens| *tokens < longest);
    let query = count("max_tokens_per_query", limits.query)?.filter(|tokens| *tokens < longest);
    if document.is_none() && query.is_none() {
        return Ok(());
    }
    if let Some(most) = query {
        let has = tokens(door, caller, model, &job.options, InputKind::Text(job.query.clone()), true).await?;
        if has > most {
            let why = format!("the query has {has} tokens; a query is not cut, send a shorter one");
            return Err(HttpFailure::field("max_tokens_per_query", why));
        }
    }
    if let Some(most) = document {
        if model.task() == Task::LateInteraction || model.task() == Task::Embed {
            let why = format!("{} reads query and documents apart; their lengths are its own", model.name);
            return Err(HttpFailure::field("max_tokens_per_doc", why));
        }
        if job.windows.is_some() {
            return Err(HttpFailure::field("max_tokens_per_doc", "is not served together with max_chunks_per_doc"));
        }
        let pair = TextPair { first: job.query.clone(), second: String::new() };
        let beside = tokens(door, caller, model, &job.options, InputKind::Pair(pair), false).await?;
        job.options.max_length = beside.saturating_add(most).min(longest);
    }
    Ok(())
}

/// A limit in tokens or chunks; 0 and less is none.
fn count(field: &str, value: Option<i64>) -> Result<Option<u32>, HttpFailure> {
    match value.filter(|value| *value > 0).map(u32::try_from) {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(_)) => Err(HttpFailure::field(field, format!("at most {}", u32::MAX))),
    }
}

/// Tokens of one input.
async fn tokens(
    door: &Door,
    caller: &Caller,
    model: &ModelInfo,
    options: &TextOptions,
    kind: InputKind,
    without_special_tokens: bool,
) -> Result<u32, HttpFailure> {
    let request = TokenizeRequest {
        model: model.name.clone(),
        inputs: vec![Input { kind: Some(kind) }],
        options: Some(TextOptions { truncation: Truncation::Error.into(), ..options.clone() }),
        without_special_tokens,
    };
    let answer = door.tokenize(caller, request).await?;
    check_items(answer.message.items.as_ref(), 1, "query", false)?;
    let ids = answer.message.inputs.first().map_or(0, |input| input.ids.len());
    Ok(u32::try_from(ids).unwrap_or(u32::MAX))
}
