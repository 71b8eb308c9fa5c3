//! `sortie rerank` and `sortie similarity`.

use sortie_client::Scoring;

use super::print::print;
use crate::{
    args::{RerankArgs, SimilarityArgs},
    exit::{Exit, Failure},
    gather::{Gathered, gather},
    read::{self, Item},
    report::{Report, ScoreHead, ScoreRow},
    session::Session,
};

/// Orders documents by how well they answer a query.
pub(crate) fn rerank(args: &RerankArgs, session: &Session) -> Result<Exit, Failure> {
    let items = read::items(&args.documents, &args.input, false)?;
    let all = session.connected(|client| {
        let (client, items) = (client, &items);
        async move {
            gather(items, session.output.quiet, args.text.revisions(), |slice| {
                let mut call = client.rerank(&args.query, slice).options(args.text.options());
                call = call.revisions(args.text.revisions());
                if let Some(activation) = args.activation {
                    call = call.activation(activation.into());
                }
                async {
                    let answer = call.await?;
                    Ok((answer.scoring, answer.scores, answer.report))
                }
            })
            .await
        }
    })?;
    print(&ranked(all, &items, args.top, session), &session.output)
}

/// Compares one text with many.
pub(crate) fn similarity(args: &SimilarityArgs, session: &Session) -> Result<Exit, Failure> {
    let items = read::items(&args.texts, &args.input, false)?;
    let all = session.connected(|client| {
        let (client, items) = (client, &items);
        async move {
            gather(items, session.output.quiet, args.text.revisions(), |slice| {
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
    print(&ranked(all, &items, args.top, session), &session.output)
}

fn ranked(
    mut all: Gathered<Scoring, f32>,
    items: &[Item],
    top: Option<usize>,
    session: &Session,
) -> Report<ScoreHead, ScoreRow> {
    let scoring = match all.head() {
        Some(Scoring::CrossEncoder) => "cross_encoder",
        Some(Scoring::Cosine) => "cosine",
        _ => "",
    };
    let scored = all.report(items, ScoreHead { scoring }, session.output.timings, |_, item, score| Some((score, item)));
    scored.map(|rows| ScoreRow::ranked(rows, top))
}
