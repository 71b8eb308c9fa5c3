//! Forms that serde reads or writes by hand.
#![expect(dead_code, reason = "described here, and never made")]

use serde::Serialize;
use utoipa::ToSchema;

use crate::{rerank::answer, tei, weaviate};

/// A text, a list of texts, a list of token ids or a list of those.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum TextsOrIds {
    Text(String),
    Texts(Vec<String>),
    Ids(Vec<u32>),
    Sequences(Vec<Vec<u32>>),
}

/// A text or a list of texts.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    Text(String),
    Texts(Vec<String>),
}

/// A list of token ids or a list of those.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Ids {
    Ids(Vec<u32>),
    Sequences(Vec<Vec<u32>>),
}

/// A text; a pair, which is a list of two texts; or a list of lists of one or two texts.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum PredictInputs {
    Text(String),
    Pair(Vec<String>),
    Many(Vec<Vec<String>>),
}

/// Labels of one input, or of several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Predictions {
    One(Vec<tei::classify::Prediction<'static>>),
    Many(Vec<Vec<tei::classify::Prediction<'static>>>),
}

/// What was found in one text, or in several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum TaggedTexts {
    One(Vec<tei::tag::FoundSpan<'static>>),
    Many(Vec<Vec<tei::tag::FoundSpan<'static>>>),
}

/// A text or a list of documents.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum DocumentList {
    One(String),
    Many(Vec<DocumentForm>),
}

/// A text, or an object with one in `text` or in the fields that `rank_fields` names.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum DocumentForm {
    Text(String),
    Object(TextObject),
}

/// An object with a text.
#[derive(Serialize, ToSchema)]
pub(crate) struct TextObject {
    text: Option<String>,
}

/// Numbers, or their little-endian f32 in base64.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum FloatsOrBase64 {
    Float(Vec<f32>),
    Base64(String),
}

/// TEI's list or the object of the others.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum RerankAnswers {
    Tei(Vec<answer::Rank<'static>>),
    Results(answer::Results<'static>),
}

/// The answer to one text or to several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum WeaviateVectors {
    One(weaviate::vectors::OneVector<'static>),
    Many(weaviate::vectors::ManyVectors<'static>),
}

/// The body of the route that goes with the model.
#[derive(Serialize, ToSchema)]
pub(crate) struct AnyBody {
    /// The model, where several are served.
    model: Option<String>,
}
