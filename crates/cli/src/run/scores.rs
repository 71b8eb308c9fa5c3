//! `sortie rerank` and `sortie similarity`.

use sortie_client::{Scoring, Windows};

use super::print::print;
use crate::{
    args::{RerankArgs, SimilarityArgs},
    collect::{CollectedAnswers, gather},
    context::CommandContext,
    exit::{CommandFailure, Exit},
    read::{self, InputItem},
    report::{CommandReport, ScoreHead, ScoreRow},
};

/// Orders documents by how well they answer a query.
pub(crate) fn rerank(args: &RerankArgs, context: &CommandContext) -> Result<Exit, CommandFailure> {
    let items = read::items(&args.documents, &args.input, false)?;
    let all = context.connected(|client| {
        let (client, items) = (client, &items);
        async move {
            gather(items, context.output.quiet, args.text.revisions(), |slice| {
                let mut call = client.rerank(&args.query, slice).options(args.text.options());
                call = call.revisions(args.text.revisions());
                if let Some(activation) = args.activation {
                    call = call.activation(activation.into());
                }
                if let Some(stride) = args.stride {
                    let score = args.window_score.map(Into::into).unwrap_or_default();
                    call = call.windows(Windows::new(stride).score(score));
                }
                async {
                    let answer = call.await?;
                    Ok((answer.scoring, answer.scores, answer.report))
                }
            })
            .await
        }
    })?;
    print(&ranked(all, &items, args.top, context), &context.output)
}

/// Compares one text with many.
pub(crate) fn similarity(args: &SimilarityArgs, context: &CommandContext) -> Result<Exit, CommandFailure> {
    let items = read::items(&args.texts, &args.input, false)?;
    let all = context.connected(|client| {
        let (client, items) = (client, &items);
        async move {
            gather(items, context.output.quiet, args.text.revisions(), |slice| {
                let call = client.similarity(&args.source, slice).options(args.text.options());
                let call = call.revisions(args.text.revisions());
                async {
                    let answer = call.await?;
                    Ok((Some(Scoring::Cosine), answer.scores, answer.report))
                }
            })
            .await
        }
    })?;
    print(&ranked(all, &items, args.top, context), &context.output)
}

fn ranked(
    mut all: CollectedAnswers<Scoring, f32>,
    items: &[InputItem],
    top: Option<usize>,
    context: &CommandContext,
) -> CommandReport<ScoreHead, ScoreRow> {
    let scoring = match all.head() {
        Some(Scoring::CrossEncoder) => "cross_encoder",
        Some(Scoring::Cosine) => "cosine",
        Some(Scoring::LogitDifference) => "logit_difference",
        Some(Scoring::MaxSim) => "maxsim",
        Some(Scoring::MeanMaxSim) => "mean_maxsim",
        _ => "",
    };
    let scored = all.report(items, ScoreHead { scoring }, context.output.timings, |_, item, score| Some((score, item)));
    scored.map(|rows| ScoreRow::ranked(rows, top))
}
