//! Detokenize: the text of token ids. Needs no device.

use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::v1::{self, input::Kind};

use crate::{
    item_refusal::ItemRefusal,
    models::Registry,
    pipeline::{check_list, detokenize as texts_of},
};

/// Turns ids back into text.
pub(super) async fn detokenize(
    registry: &Registry,
    context: &RequestContext,
    request: v1::DetokenizeRequest,
) -> Result<v1::DetokenizeResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served.clone());
    check_list("inputs", &request.inputs, served.limits.max_items)?;
    let ids_of = |input: v1::Input| match input.kind {
        Some(Kind::Tokens(tokens)) => Ok(tokens.ids),
        _ => Err(ItemRefusal::unsupported("only ids become text")),
    };
    let sequences: Vec<_> = request.inputs.into_iter().map(ids_of).collect();
    let counts = sequences.iter().map(|ids| ids.as_ref().map_or(0, |ids| u32::try_from(ids.len()).unwrap_or(u32::MAX)));
    let tokens: Vec<u32> = counts.collect();
    let made = texts_of(served, context, sequences, !request.skip_special_tokens).await?;
    let mut facts = v1::ItemInfo { truncated: vec![false; tokens.len()], tokens, ..Default::default() };
    let mut texts = Vec::with_capacity(made.len());
    for (index, text) in made.into_iter().enumerate() {
        texts.push(text.unwrap_or_else(|refusal| {
            facts.tokens[index] = 0;
            facts.errors.push(refusal.at(index));
            String::new()
        }));
    }
    context.note_size(facts.tokens.len(), facts.tokens.iter().map(|n| u64::from(*n)).sum());
    Ok(v1::DetokenizeResponse { texts, items: Some(facts) })
}
