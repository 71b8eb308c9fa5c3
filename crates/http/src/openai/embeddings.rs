//! `POST /v1/embeddings`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use sortie_proto::v1::{ModelInfo, TextOptions, Truncation};
use utoipa::ToSchema;

use crate::{
    door::Door,
    embed::{self, EmbedInput, apply_input_type, dimensions},
    failure::{FailureKind, HttpFailure},
    models::Need,
    reply::{JsonReply, NumberRow, Usage},
    request::{Incoming, max_length, parse, side},
};

/// What is read. All that is not named here is ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct EmbeddingsBody {
    #[schema(required = true, value_type = crate::openapi::TextsOrIds)]
    input: Option<EmbedInput>,
    model: Option<String>,
    encoding_format: Option<String>,
    #[schema(minimum = 1)]
    dimensions: Option<i64>,
    /// Voyage's name of `dimensions`.
    #[schema(minimum = 1)]
    output_dimension: Option<i64>,
    output_dtype: Option<String>,
    input_type: Option<String>,
    prompt_name: Option<String>,
    truncation: Option<bool>,
    truncate: Option<bool>,
    truncate_prompt_tokens: Option<i64>,
    truncation_side: Option<String>,
    normalize: Option<bool>,
    use_activation: Option<bool>,
    add_special_tokens: Option<bool>,
    embed_dtype: Option<String>,
    endianness: Option<String>,
    #[schema(value_type = Option<Vec<Object>>)]
    messages: Option<Box<RawValue>>,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Float,
    Base64,
}

/// Turns texts into vectors.
#[utoipa::path(post, path = "/v1/embeddings", tag = "OpenAI", request_body = EmbeddingsBody, responses(
    (status = 200, description = "A vector an input, in the order sent.", body = Embeddings<'_>),
    (status = "default", description = "OpenAI's failure.", body = crate::openapi::NestedFailure),
))]
pub(crate) async fn embeddings(door: Door, incoming: Incoming) -> Result<JsonReply, HttpFailure> {
    let mut body: EmbeddingsBody = parse(&incoming.body)?;
    drop(incoming.body);
    let caller = &incoming.caller;
    let encoding = body.encoding()?;
    body.refuse_what_is_not_served()?;
    let input = body.input.take().ok_or_else(|| HttpFailure::empty("input"))?;
    check_input(&input, door.options().allow_token_ids)?;
    let model = door.model(caller, body.model.as_deref(), Need::EMBED).await?;
    let job = embed::EmbedJob {
        field: "input",
        input,
        options: body.options(&model, door.options().cut_by_default)?,
        normalize: Some(body.use_activation.or(body.normalize).unwrap_or(true)),
        dimensions: match body.dimensions {
            None => dimensions("output_dimension", body.output_dimension)?,
            sent => dimensions("dimensions", sent)?,
        },
        partial: true,
    };
    let embedded = embed::run(&door, caller, &model, job).await?;
    let rows = embedded.rows()?;
    let mut data = Vec::with_capacity(embedded.facts.items);
    for index in (0..embedded.facts.items).filter(|index| !embedded.facts.fate.is_failed(*index)) {
        let row = rows.row(index)?;
        let embedding = match encoding {
            Encoding::Float => EncodedVector::Float(row),
            Encoding::Base64 => EncodedVector::Base64(row),
        };
        data.push(OpenAiEmbedding { object: "embedding", index, embedding });
    }
    let usage = Usage::of(embedded.facts.fate.tokens);
    JsonReply::json(&Embeddings { object: "list", data, model: &embedded.model, usage }, embedded.facts.clone())
}

impl EmbeddingsBody {
    fn encoding(&self) -> Result<Encoding, HttpFailure> {
        match self.encoding_format.as_deref() {
            None | Some("float") => Ok(Encoding::Float),
            Some("base64") => Ok(Encoding::Base64),
            Some(other) => Err(HttpFailure::field("encoding_format", format!("{other:?} is neither float nor base64"))),
        }
    }

    /// Fields that would change the vectors or how they are written.
    fn refuse_what_is_not_served(&self) -> Result<(), HttpFailure> {
        let one_of = |field: &str, value: &Option<String>, served: &[&str]| match value {
            Some(value) if !served.contains(&value.as_str()) => {
                Err(HttpFailure::field(field, format!("{value:?} is not served; only {} is", served.join(" or "))))
            }
            _ => Ok(()),
        };
        one_of("output_dtype", &self.output_dtype, &["float"])?;
        one_of("embed_dtype", &self.embed_dtype, &["float32", "float"])?;
        one_of("endianness", &self.endianness, &["little", "native"])?;
        if self.add_special_tokens == Some(false) {
            return Err(HttpFailure::field("add_special_tokens", "false is not served; the model's template is used"));
        }
        if self.messages.is_some() {
            return Err(HttpFailure::field("messages", "conversations are not served; send texts as input"));
        }
        Ok(())
    }

    fn options(&self, model: &ModelInfo, cut_by_default: bool) -> Result<TextOptions, HttpFailure> {
        let cut = self.truncation.or(self.truncate).unwrap_or(cut_by_default || self.truncate_prompt_tokens.is_some());
        let mut options = TextOptions {
            truncation: if cut { Truncation::DocumentOnly } else { Truncation::Error }.into(),
            max_length: max_length("truncate_prompt_tokens", self.truncate_prompt_tokens)?,
            truncation_side: side("truncation_side", self.truncation_side.as_deref())?.into(),
            prompt_name: self.prompt_name.clone().unwrap_or_default(),
            ..TextOptions::default()
        };
        apply_input_type(&mut options, model, self.input_type.as_deref())?;
        Ok(options)
    }
}

/// OpenAI refuses texts without anything in them; ids are refused with their cure.
fn check_input(input: &EmbedInput, allow_token_ids: bool) -> Result<(), HttpFailure> {
    match input {
        EmbedInput::Texts(texts) => match texts.iter().position(String::is_empty) {
            None => Ok(()),
            Some(index) => Err(HttpFailure::empty(&format!("input[{index}]"))),
        },
        EmbedInput::Ids(_) if allow_token_ids => Ok(()),
        EmbedInput::Ids(_) => {
            let message = "`input` holds token ids, which were most likely made with OpenAI's vocabulary and are other \
                           words in this model's. Send texts: LangChain's OpenAIEmbeddings does with \
                           check_embedding_ctx_length=False. A server can be set to take ids of the model's own vocabulary.";
            Err(HttpFailure::new(FailureKind::Validation, message).at("input"))
        }
    }
}

/// OpenAI's answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Embeddings<'a> {
    object: &'static str,
    data: Vec<OpenAiEmbedding<'a>>,
    model: &'a str,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
struct OpenAiEmbedding<'a> {
    object: &'static str,
    index: usize,
    #[schema(value_type = crate::openapi::FloatsOrBase64)]
    embedding: EncodedVector<'a>,
}

#[derive(Debug)]
enum EncodedVector<'a> {
    Float(NumberRow<'a>),
    /// Little-endian f32 as they came.
    Base64(NumberRow<'a>),
}

impl Serialize for EncodedVector<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            EncodedVector::Float(row) => row.serialize(serializer),
            EncodedVector::Base64(row) => serializer.serialize_str(&STANDARD.encode(row.bytes())),
        }
    }
}
