//! Dense vectors, whatever dialect asks for them.

mod ids;
mod input;
mod role;

pub(crate) use input::EmbedInput;
pub(crate) use role::apply_input_type;

use sortie_proto::v1::{
    EmbedRequest, EmbedResponse, Input, ModelInfo, TextOptions, VectorFormat, input::Kind as InputKind,
};

use crate::{
    door::Door,
    failure::{HttpFailure, check_items},
    reply::{Facts, NumberRows},
    request::Caller,
};

/// What to embed.
#[derive(Debug)]
pub(crate) struct EmbedJob {
    /// What the dialect calls the inputs.
    pub(crate) field: &'static str,
    pub(crate) input: EmbedInput,
    pub(crate) options: TextOptions,
    /// Whether vectors get length 1; `None` is the model's own habit.
    pub(crate) normalize: Option<bool>,
    /// Only the first so many dimensions; 0 keeps all.
    pub(crate) dimensions: u32,
    /// The answer has a place for items that are left out.
    pub(crate) partial: bool,
}

/// Vectors.
#[derive(Debug)]
pub(crate) struct EmbeddedRows {
    pub(crate) model: String,
    pub(crate) facts: Facts,
    field: &'static str,
    answer: EmbedResponse,
}

impl EmbeddedRows {
    /// The rows, f32.
    pub(crate) fn rows(&self) -> Result<NumberRows<'_>, HttpFailure> {
        NumberRows::new(&self.answer.vectors, self.answer.dimensions as usize, self.facts.items, self.field)
    }

    /// Numbers in a row.
    pub(crate) fn dimensions(&self) -> u32 {
        self.answer.dimensions
    }
}

/// Has vectors made.
pub(crate) async fn run(
    door: &Door,
    caller: &Caller,
    model: &ModelInfo,
    job: EmbedJob,
) -> Result<EmbeddedRows, HttpFailure> {
    let EmbedJob { field, input, options, normalize, dimensions, partial } = job;
    let read = read_inputs(door, caller, model, input, &options, field).await?;
    let count = read.inputs.len();
    let request = EmbedRequest {
        model: model.name.clone(),
        inputs: read.inputs,
        options: Some(options),
        normalize,
        dimensions,
        format: VectorFormat::F32.into(),
        ..EmbedRequest::default()
    };
    let answer = door
        .embed(caller, request)
        .await
        .map_err(|failure| failure.renamed(&[("inputs", field), ("max_length", "truncate_prompt_tokens")]))?;
    let mut fate = check_items(answer.message.items.as_ref(), count, field, partial && caller.partial)?;
    fate.also_truncated(read.truncated);
    let chunk = answer.message.chunk.clone();
    let facts = Facts { characters: read.characters, ..Facts::of(model, chunk, fate, count, answer.load) };
    Ok(EmbeddedRows { model: model.name.clone(), facts, field, answer: answer.message })
}

/// Inputs as the contract has them.
pub(crate) struct ReadInputs {
    pub(crate) inputs: Vec<Input>,
    pub(crate) characters: usize,
    /// Ids that were cut before they were sent.
    pub(crate) truncated: Vec<u32>,
}

/// Turns texts into inputs, and ids, which come without special tokens, into whole sequences.
pub(crate) async fn read_inputs(
    door: &Door,
    caller: &Caller,
    model: &ModelInfo,
    input: EmbedInput,
    options: &TextOptions,
    field: &str,
) -> Result<ReadInputs, HttpFailure> {
    if input.len() == 0 {
        return Err(HttpFailure::empty(field));
    }
    match input {
        EmbedInput::Texts(texts) => {
            let characters = texts.iter().map(|text| text.chars().count()).sum();
            let inputs = texts.into_iter().map(|text| Input { kind: Some(InputKind::Text(text)) }).collect();
            Ok(ReadInputs { inputs, characters, truncated: Vec::new() })
        }
        EmbedInput::Ids(ids) => ids::framed(door, caller, model, ids, options, field).await,
    }
}

/// `dimensions` as it was sent: absent keeps all, and none at all is refused.
pub(crate) fn dimensions(field: &str, value: Option<i64>) -> Result<u32, HttpFailure> {
    match value {
        None => Ok(0),
        Some(value) if value > 0 => {
            u32::try_from(value).map_err(|_| HttpFailure::field(field, format!("at most {}", u32::MAX)))
        }
        Some(_) => Err(HttpFailure::field(field, "should be positive")),
    }
}
