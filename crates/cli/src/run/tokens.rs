//! `sortie tokenize`.

use super::print::print;
use crate::{
    args::TokenizeArgs,
    collect::gather,
    context::CommandContext,
    exit::{CommandFailure, Exit},
    read,
    report::{TokenHead, TokenRow},
};

/// Shows how the model's tokenizer reads texts.
pub(crate) fn tokenize(args: &TokenizeArgs, context: &CommandContext) -> Result<Exit, CommandFailure> {
    let items = read::items(&args.texts, &args.input, args.pair)?;
    let all = context.connected(|client| {
        let (client, items) = (client, &items);
        async move {
            gather(items, context.output.quiet, args.text.revisions(), |slice| {
                let call = client.tokenize(slice).options(args.text.options()).revisions(args.text.revisions());
                let call = call.special_tokens(!args.no_specials);
                async {
                    let answer = call.await?;
                    Ok((Some(()), answer.inputs, answer.report))
                }
            })
            .await
        }
    })?;
    let report = all.report(&items, TokenHead {}, context.output.timings, |_, item, tokens| {
        Some(TokenRow {
            index: item.index,
            id: item.id,
            token_count: tokens.len(),
            truncated: item.truncated,
            ids: tokens.iter().map(|token| token.id).collect(),
            type_ids: tokens.iter().map(|token| token.type_id).collect(),
            starts: tokens.iter().map(|token| token.range.start).collect(),
            ends: tokens.iter().map(|token| token.range.end).collect(),
            special: tokens.iter().map(|token| token.special).collect(),
            tokens: tokens.into_iter().map(|token| token.text).collect(),
        })
    });
    print(&report, &context.output)
}
