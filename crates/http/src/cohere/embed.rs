//! `texts` in, one or several forms of their vectors out.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sortie_proto::v1::{TextOptions, Truncation, TruncationSide};
use utoipa::ToSchema;

use super::bits::{packed, signed};
use crate::{
    door::Door,
    embed::{self, EmbedInput, EmbeddedRows, apply_input_type, dimensions},
    failure::HttpFailure,
    models::Need,
    reply::{JsonReply, NumberRow},
    request::{Caller, Incoming, max_length, parse},
    rerank::answer::ApiVersion,
};

/// What is read. All that is not named here is ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CohereEmbedBody)]
pub(crate) struct CohereEmbedBody {
    model: Option<String>,
    #[schema(required = true)]
    texts: Option<Vec<String>>,
    /// `search_document`, `search_query`, `classification` or `clustering`: the model's role or prompt of that name.
    input_type: Option<String>,
    /// `float`, `base64`, `binary` and `ubinary`.
    embedding_types: Option<Vec<String>>,
    #[schema(minimum = 1)]
    output_dimension: Option<i64>,
    /// `NONE`, `START` or `END`.
    truncate: Option<String>,
    /// Tokens of a sequence, specials included.
    #[schema(minimum = 1)]
    max_tokens: Option<i64>,
    #[schema(value_type = Option<Vec<Object>>)]
    inputs: Option<Box<RawValue>>,
    #[schema(value_type = Option<Vec<String>>)]
    images: Option<Box<RawValue>>,
}

/// Which of Cohere's interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// The forms that were asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Forms {
    float: bool,
    base64: bool,
    binary: bool,
    ubinary: bool,
}

/// Turns texts into vectors, by the second version.
#[utoipa::path(post, path = "/v2/embed", tag = "Cohere", request_body = CohereEmbedBody, responses(
    (status = 200, description = "Vectors by type.", body = EmbedAnswer<'_>),
    (status = "default", description = "Cohere's failure.", body = crate::openapi::CohereFailure),
))]
pub(crate) async fn embed_v2(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    let body: CohereEmbedBody = parse(&incoming.body)?;
    embed_texts(&door, &incoming.caller, body, Version::V2).await
}

/// Turns texts into vectors.
pub(crate) async fn embed_texts(
    door: &Door,
    caller: &Caller,
    body: CohereEmbedBody,
    version: Version,
) -> Result<JsonReply, HttpFailure> {
    for (field, sent) in [("inputs", &body.inputs), ("images", &body.images)] {
        if sent.as_ref().is_some_and(|value| value.get() != "[]") {
            return Err(HttpFailure::field(field, "is not served; send `texts`"));
        }
    }
    let forms = forms(body.embedding_types.as_deref())?;
    let texts = body.texts.filter(|texts| !texts.is_empty()).ok_or_else(|| HttpFailure::empty("texts"))?;
    let model = door.model(caller, body.model.as_deref(), Need::EMBED).await?;
    let (truncation, side) = truncation(body.truncate.as_deref(), door.options().cut_by_default)?;
    let mut options = TextOptions {
        truncation: truncation.into(),
        truncation_side: side.into(),
        max_length: max_length("max_tokens", body.max_tokens)?,
        ..TextOptions::default()
    };
    // What is more than the model reads limits nothing.
    options.max_length = if options.max_length >= model.max_length { 0 } else { options.max_length };
    apply_input_type(&mut options, &model, body.input_type.as_deref())?;
    let job = embed::EmbedJob {
        field: "texts",
        input: EmbedInput::Texts(texts.clone()),
        options,
        normalize: Some(true),
        dimensions: dimensions("output_dimension", body.output_dimension)?,
        partial: false,
    };
    let embedded = embed::run(door, caller, &model, job).await?;
    write(&embedded, &texts, forms, (version, body.embedding_types.is_some()))
}

fn forms(asked: Option<&[String]>) -> Result<Forms, HttpFailure> {
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else {
        return Ok(Forms { float: true, ..Forms::default() });
    };
    let mut forms = Forms::default();
    for name in asked {
        match name.as_str() {
            "float" => forms.float = true,
            "base64" => forms.base64 = true,
            "binary" => forms.binary = true,
            "ubinary" => forms.ubinary = true,
            "int8" | "uint8" => {
                let why = format!(
                    "{name} is not served: it needs the range of each dimension over a corpus, and with this request's own \
                     its numbers would compare with no other's; ask for float, binary or ubinary"
                );
                return Err(HttpFailure::field("embedding_types", why));
            }
            other => {
                let why = format!("{other:?} is none of float, base64, binary, ubinary");
                return Err(HttpFailure::field("embedding_types", why));
            }
        }
    }
    Ok(forms)
}

fn truncation(value: Option<&str>, cut_by_default: bool) -> Result<(Truncation, TruncationSide), HttpFailure> {
    let own = TruncationSide::Unspecified;
    match value {
        None if cut_by_default => Ok((Truncation::DocumentOnly, own)),
        None | Some("NONE" | "none") => Ok((Truncation::Error, own)),
        Some("START" | "start") => Ok((Truncation::DocumentOnly, TruncationSide::Left)),
        Some("END" | "end") => Ok((Truncation::DocumentOnly, TruncationSide::Right)),
        Some(other) => Err(HttpFailure::field("truncate", format!("{other:?} is none of NONE, START, END"))),
    }
}

/// Cohere's answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EmbedAnswer<'a> {
    id: String,
    embeddings: VectorsByType<'a>,
    texts: &'a [String],
    meta: EmbedMeta,
    response_type: &'static str,
}

/// By type, or, in the first version without types, rows of numbers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum VectorsByType<'a> {
    NumberRows(Vec<NumberRow<'a>>),
    ByType(ByType<'a>),
}

#[derive(Debug, Serialize, ToSchema)]
struct ByType<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    float: Option<Vec<NumberRow<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary: Option<Vec<Vec<i8>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ubinary: Option<Vec<Vec<u8>>>,
}

#[derive(Debug, Serialize, ToSchema)]
struct EmbedMeta {
    api_version: ApiVersion,
    billed_units: TokenUnits,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct TokenUnits {
    input_tokens: u64,
}

fn write(
    embedded: &EmbeddedRows,
    texts: &[String],
    forms: Forms,
    (version, by_type): (Version, bool),
) -> Result<JsonReply, HttpFailure> {
    let rows = embedded.rows()?;
    let rows: Vec<NumberRow<'_>> = (0..embedded.facts.items).map(|index| rows.row(index)).collect::<Result<_, _>>()?;
    let fate = &embedded.facts.fate;
    let warnings = match fate.truncated.len() {
        0 => Vec::new(),
        cut => vec![format!("texts that were cut to fit the model: {cut}")],
    };
    let meta = EmbedMeta {
        api_version: ApiVersion { version: if version == Version::V2 { "2" } else { "1" } },
        billed_units: TokenUnits { input_tokens: fate.tokens },
        warnings,
    };
    let plain = version == Version::V1 && !by_type;
    let embeddings = if plain {
        VectorsByType::NumberRows(rows)
    } else {
        VectorsByType::ByType(ByType {
            base64: forms.base64.then(|| rows.iter().map(|row| STANDARD.encode(row.bytes())).collect()),
            binary: forms.binary.then(|| rows.iter().map(|row| signed(*row)).collect()),
            ubinary: forms.ubinary.then(|| rows.iter().map(|row| packed(*row)).collect()),
            float: forms.float.then_some(rows),
        })
    };
    let answer = EmbedAnswer {
        id: uuid::Uuid::new_v4().to_string(),
        embeddings,
        texts,
        meta,
        response_type: if plain { "embeddings_floats" } else { "embeddings_by_type" },
    };
    JsonReply::json(&answer, embedded.facts.clone())
}
