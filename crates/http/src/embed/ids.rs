//! Token ids come without special tokens, as TEI's do; the contract takes whole sequences. What goes around a text is
//! learned from the model's tokenizer.

use sortie_proto::v1::{
    Input, ModelInfo, TextOptions, TokenIds, TokenizeRequest, TokenizedInput, Truncation, TruncationSide,
    input::Kind as InputKind,
};

use super::ReadInputs;
use crate::{
    door::Door,
    failure::{FailureKind, HttpFailure},
    request::Caller,
};

/// A text of which every vocabulary makes a token or more.
const ANY_TEXT: &str = "a";

/// Special tokens before and after a text.
struct SpecialIds {
    before: Vec<u32>,
    after: Vec<u32>,
}

/// Puts special tokens around the ids and cuts what is too long, as a text would be.
pub(super) async fn framed(
    door: &Door,
    caller: &Caller,
    model: &ModelInfo,
    sequences: Vec<Vec<u32>>,
    options: &TextOptions,
    field: &str,
) -> Result<ReadInputs, HttpFailure> {
    let frame = frame(door, caller, model).await?;
    let longest = match options.max_length {
        0 => model.max_length,
        asked => asked.min(model.max_length),
    };
    let room = (longest as usize).saturating_sub(frame.before.len() + frame.after.len());
    let left = match options.truncation_side() {
        TruncationSide::Unspecified => model.truncation_side() == TruncationSide::Left,
        side => side == TruncationSide::Left,
    };
    let mut read = ReadInputs { inputs: Vec::with_capacity(sequences.len()), characters: 0, truncated: Vec::new() };
    for (index, ids) in sequences.into_iter().enumerate() {
        let place = || format!("{field}[{index}]");
        if ids.is_empty() {
            return Err(HttpFailure::field(place(), "holds no token ids"));
        }
        let kept = match ids.len() {
            count if count <= room => &ids[..],
            count if options.truncation() == Truncation::Error => {
                let why = format!("{count} token ids and the special tokens; the limit is {longest}");
                return Err(HttpFailure::field(place(), why));
            }
            count => {
                read.truncated.push(u32::try_from(index).unwrap_or(u32::MAX));
                if left { &ids[count - room..] } else { &ids[..room] }
            }
        };
        let ids = [&frame.before, kept, &frame.after].concat();
        read.inputs.push(Input { kind: Some(InputKind::Tokens(TokenIds { ids, type_ids: Vec::new() })) });
    }
    Ok(read)
}

async fn frame(door: &Door, caller: &Caller, model: &ModelInfo) -> Result<SpecialIds, HttpFailure> {
    let request = TokenizeRequest {
        model: model.name.clone(),
        inputs: vec![Input { kind: Some(InputKind::Text(ANY_TEXT.to_owned())) }],
        options: None,
        without_special_tokens: false,
    };
    let answer = door.tokenize(caller, request).await?;
    let made = answer.message.inputs.into_iter().next();
    let made = made.ok_or_else(|| HttpFailure::new(FailureKind::Backend, "the service tokenized nothing"))?;
    Ok(around(&made))
}

/// The special tokens at both ends.
fn around(made: &TokenizedInput) -> SpecialIds {
    let specials = |special: &&(u32, bool)| special.1;
    let tokens: Vec<(u32, bool)> = made.ids.iter().copied().zip(made.special.iter().copied()).collect();
    let before: Vec<u32> = tokens.iter().take_while(specials).map(|(id, _)| *id).collect();
    let rest = &tokens[before.len()..];
    let mut after: Vec<u32> = rest.iter().rev().take_while(specials).map(|(id, _)| *id).collect();
    after.reverse();
    SpecialIds { before, after }
}
