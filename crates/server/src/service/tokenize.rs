//! Tokenize: what the model's tokenizer makes of texts and pairs. Needs no device.

use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::v1::{self, input::Kind};

use super::convert::parse_inputs;
use crate::{
    item_refusal::ItemRefusal,
    models::Registry,
    pipeline::{self, InputKind, check_list, text_rules},
};

/// Shows tokens with their offsets.
pub(super) async fn tokenize(
    registry: &Registry,
    context: &RequestContext,
    request: v1::TokenizeRequest,
) -> Result<v1::TokenizeResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served.clone());
    check_list("inputs", &request.inputs, served.limits.max_items)?;
    let rules = text_rules(served, request.options)?;
    let input_kind = InputKind::Detailed { specials: !request.without_special_tokens };
    let are_ids: Vec<bool> = request.inputs.iter().map(|i| matches!(i.kind, Some(Kind::Tokens(_)))).collect();
    let read = pipeline::tokenize(served, context, parse_inputs(request.inputs, &rules), input_kind).await?;
    let mut answer = v1::TokenizeResponse::default();
    let mut facts = v1::ItemInfo::default();
    for (index, (item, is_ids)) in read.into_iter().zip(are_ids).enumerate() {
        let item =
            if is_ids { Err(ItemRefusal::unsupported("ids are tokens already; send texts or pairs")) } else { item };
        match item {
            Ok(tokens) => {
                facts.tokens.push(u32::try_from(tokens.sequence.len()).unwrap_or(u32::MAX));
                facts.truncated.push(tokens.sequence.truncated);
                answer.inputs.push(shown(&tokens));
            }
            Err(refusal) => {
                facts.tokens.push(0);
                facts.truncated.push(false);
                facts.errors.push(refusal.at(index));
                answer.inputs.push(v1::TokenizedInput::default());
            }
        }
    }
    context.note_size(facts.tokens.len(), facts.tokens.iter().map(|n| u64::from(*n)).sum());
    answer.items = Some(facts);
    Ok(answer)
}

fn shown(tokens: &pipeline::Tokens) -> v1::TokenizedInput {
    let offset = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let (sequence, details) = (&tokens.sequence, &tokens.details);
    v1::TokenizedInput {
        ids: sequence.ids.clone(),
        type_ids: (0..sequence.len()).map(|i| sequence.type_id(i)).collect(),
        tokens: details.iter().map(|d| d.token.clone()).collect(),
        starts: details.iter().map(|d| offset(d.start)).collect(),
        ends: details.iter().map(|d| offset(d.end)).collect(),
        special: details.iter().map(|d| d.special).collect(),
    }
}
