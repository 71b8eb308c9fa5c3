//! The body of a rerank request: the fields of every dialect in one, since the path does not tell them apart.

use serde::Deserialize;
use serde_json::value::RawValue;
use sortie_proto::v1::{Activation, ModelInfo, Task, TextOptions, Truncation};
use utoipa::ToSchema;

use super::{
    Habit,
    document::Documents,
    limits::{DocumentLimits, apply},
    work::RerankWork,
};
use crate::{
    door::Door,
    failure::HttpFailure,
    models::takes_instruction,
    request::{Caller, side},
    tei::pair_options,
};

/// What is read. All that is not named here is ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct RerankBody {
    pub(super) model: Option<String>,
    query: String,
    pub(super) texts: Option<Vec<String>>,
    #[schema(value_type = Option<crate::openapi::DocumentList>)]
    pub(super) documents: Option<Documents>,
    top_n: Option<i64>,
    raw_scores: Option<bool>,
    return_text: Option<bool>,
    truncate: Option<bool>,
    truncation_direction: Option<String>,
    return_documents: Option<bool>,
    rank_fields: Option<Vec<String>>,
    max_chunks_per_doc: Option<i64>,
    max_tokens_per_doc: Option<i64>,
    max_tokens_per_query: Option<i64>,
    truncate_prompt_tokens: Option<i64>,
    truncation_side: Option<String>,
    use_activation: Option<bool>,
    activation: Option<bool>,
    instruction: Option<String>,
    prompt_name: Option<String>,
    #[schema(value_type = Option<Object>)]
    chat_template_kwargs: Option<Box<RawValue>>,
    chat_template: Option<String>,
    #[schema(value_type = Option<Object>)]
    mm_processor_kwargs: Option<Box<RawValue>>,
}

impl RerankBody {
    /// What TEI's fields ask for.
    pub(super) fn into_tei(self, door: &Door, model: &ModelInfo) -> Result<RerankWork, HttpFailure> {
        let texts = self.texts.unwrap_or_default();
        if texts.is_empty() {
            return Err(HttpFailure::empty("texts"));
        }
        if self.prompt_name.is_some() {
            return Err(HttpFailure::field("prompt_name", "a prompt does not go before a pair of texts"));
        }
        let options = pair_options(door, model, self.truncate, self.truncation_direction.as_deref())?;
        let mut job = RerankWork::new(
            "texts",
            self.query,
            texts,
            options,
            score_activation(model, self.raw_scores != Some(true)),
        );
        job.top_n = wanted(self.top_n);
        job.keep_texts = self.return_text == Some(true);
        Ok(job)
    }

    /// What the fields of Jina, vLLM and Cohere ask for.
    pub(super) async fn into_documents(
        self,
        door: &Door,
        caller: &Caller,
        model: &ModelInfo,
        habit: Habit,
    ) -> Result<RerankWork, HttpFailure> {
        if self.query.trim().is_empty() {
            return Err(HttpFailure::field("query", "must have something in it besides white space"));
        }
        for (name, sent) in
            [("chat_template_kwargs", &self.chat_template_kwargs), ("mm_processor_kwargs", &self.mm_processor_kwargs)]
        {
            if sent.as_ref().is_some_and(|value| !matches!(value.get(), "{}" | "null")) {
                return Err(HttpFailure::field(name, "is not served; the model's own template is used"));
            }
        }
        if self.chat_template.is_some() {
            return Err(HttpFailure::field("chat_template", "is not served; the model's own template is used"));
        }
        let documents = self.documents.unwrap_or_default();
        let texts = documents.into_texts("documents", self.rank_fields.as_deref())?;
        if texts.is_empty() {
            return Err(HttpFailure::empty("documents"));
        }
        let mut options = TextOptions {
            truncation: Truncation::DocumentOnly.into(),
            truncation_side: side("truncation_side", self.truncation_side.as_deref())?.into(),
            ..TextOptions::default()
        };
        if let Some(instruction) = self.instruction.filter(|text| !text.is_empty()) {
            if !takes_instruction(model) {
                let why = format!("{} takes none: it is no reranker with a template for one", model.name);
                return Err(HttpFailure::field("instruction", why));
            }
            options.prompt = instruction;
        }
        options.prompt_name = self.prompt_name.unwrap_or_default();
        let sigmoid = self.use_activation.or(self.activation).unwrap_or(self.raw_scores != Some(true));
        let keep = self.return_documents.or(door.options().return_documents).unwrap_or(habit == Habit::Jina);
        let mut job = RerankWork::new("documents", self.query, texts, options, score_activation(model, sigmoid));
        job.top_n = wanted(self.top_n);
        job.keep_texts = keep;
        let limits = DocumentLimits {
            prompt: self.truncate_prompt_tokens,
            document: self.max_tokens_per_doc,
            query: self.max_tokens_per_query,
            chunks: self.max_chunks_per_doc,
        };
        apply(door, caller, model, limits, &mut job).await?;
        Ok(job)
    }
}

/// How many of the best are wanted; `None` for all. Some clients send 0 or -1 for all.
fn wanted(top_n: Option<i64>) -> Option<usize> {
    top_n.filter(|n| *n > 0).map(|n| usize::try_from(n).unwrap_or(usize::MAX))
}

/// Scores of 0 to 1 where the model's scores have that form: cosines and sums of them take no activation.
pub(crate) fn score_activation(model: &ModelInfo, sigmoid: bool) -> Activation {
    match model.task() {
        Task::Embed | Task::LateInteraction => Activation::Unspecified,
        _ if sigmoid => Activation::Sigmoid,
        _ => Activation::Raw,
    }
}
