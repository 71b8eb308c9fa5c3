//! The two forms of an answer.

use serde::Serialize;
use sortie_proto::v1::Scoring;
use utoipa::ToSchema;

use super::{Habit, work::RankedDocument};
use crate::{
    failure::HttpFailure,
    reply::{JsonReply, Usage},
};

/// Documents that Cohere bills as one search.
const DOCUMENTS_PER_SEARCH: usize = 100;

/// An entry of TEI's list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rank<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    score: f32,
}

/// TEI's answer: a bare list.
pub(super) fn listed(ranked: RankedDocument) -> Result<JsonReply, HttpFailure> {
    let RankedDocument { best, texts, facts, .. } = &ranked;
    let ranks: Vec<Rank<'_>> = best
        .iter()
        .map(|(index, score)| Rank { index: *index, text: text_of(texts.as_deref(), *index), score: *score })
        .collect();
    JsonReply::json(&ranks, facts.clone())
}

fn text_of(texts: Option<&[String]>, index: u32) -> Option<&str> {
    texts?.get(index as usize).map(String::as_str)
}

/// The answer that readers of Jina, vLLM and Cohere all understand.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Results<'a> {
    id: String,
    object: &'static str,
    model: &'a str,
    results: Vec<ResultEntry<'a>>,
    usage: Usage,
    meta: RerankMeta,
}

#[derive(Debug, Serialize, ToSchema)]
struct ResultEntry<'a> {
    index: u32,
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Shown<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Shown<'a> {
    text: &'a str,
}

#[derive(Debug, Serialize, ToSchema)]
struct RerankMeta {
    api_version: ApiVersion,
    billed_units: SearchUnits,
    tokens: MetaTokens,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApiVersion {
    pub(crate) version: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct SearchUnits {
    search_units: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct MetaTokens {
    input_tokens: u64,
}

/// The answer that readers of Jina, vLLM and Cohere all understand.
pub(super) fn results(ranked: RankedDocument, habit: Habit) -> Result<JsonReply, HttpFailure> {
    let RankedDocument { model, best, texts, facts, scoring, .. } = &ranked;
    let entry = |(index, score): &(u32, f32)| ResultEntry {
        index: *index,
        relevance_score: *score,
        document: text_of(texts.as_deref(), *index).map(|text| Shown { text }),
    };
    let version = if habit == Habit::CohereV2 { "2" } else { "1" };
    let answer = Results {
        id: format!("rerank-{}", uuid::Uuid::new_v4()),
        object: "list",
        model,
        results: best.iter().map(entry).collect(),
        usage: Usage::of(facts.fate.tokens),
        meta: RerankMeta {
            api_version: ApiVersion { version },
            billed_units: SearchUnits { search_units: facts.items.div_ceil(DOCUMENTS_PER_SEARCH) },
            tokens: MetaTokens { input_tokens: facts.fate.tokens },
            warnings: warnings(&ranked, *scoring),
        },
    };
    JsonReply::json(&answer, facts.clone())
}

/// What a reader should know of these scores.
fn warnings(ranked: &RankedDocument, scoring: Scoring) -> Vec<String> {
    let fate = &ranked.facts.fate;
    let mut said = Vec::new();
    match fate.truncated.len() {
        0 => {}
        1 => said.push("1 document was cut to fit the model".to_owned()),
        cut => said.push(format!("{cut} documents were cut to fit the model")),
    }
    if ranked.facts.query_truncated {
        said.push("the query was cut to fit the model".to_owned());
    }
    if !fate.failed.is_empty() {
        said.push(format!("{} documents failed and are left out", fate.failed.len()));
    }
    let own = match scoring {
        Scoring::Cosine => Some("cosines, from -1 to 1"),
        Scoring::Maxsim => Some("sums of similarities of token vectors, which have no upper bound"),
        Scoring::MeanMaxsim => Some("means of similarities of token vectors, from -1 to 1"),
        Scoring::Unspecified | Scoring::CrossEncoder | Scoring::LogitDifference => None,
    };
    if let Some(own) = own {
        said.push(format!("scores of {} are {own}, and not probabilities", ranked.model));
    }
    said
}
