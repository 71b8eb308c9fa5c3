//! `sortie classify` and `sortie tag`.

use sortie_client::Activation;

use super::print::print;
use crate::{
    args::{ClassifyArgs, TagArgs},
    collect::gather,
    context::CommandContext,
    exit::{CommandFailure, Exit},
    read::{self, InputItem},
    report::{ClassHead, ClassRow, SpanRow, TagHead, TagRow},
};

/// Scores inputs against the model's labels.
pub(crate) fn classify(args: &ClassifyArgs, context: &CommandContext) -> Result<Exit, CommandFailure> {
    let items = read::items(&args.texts, &args.input, args.pair)?;
    let mut all = context.connected(|client| {
        let (client, items) = (client, &items);
        async move {
            gather(items, context.output.quiet, args.text.revisions(), |slice| {
                let mut call = client.classify(slice).options(args.text.options()).revisions(args.text.revisions());
                if let Some(activation) = args.activation {
                    call = call.activation(activation.into());
                }
                async {
                    let answer = call.await?;
                    let head = Some((answer.labels, answer.activation)).filter(|(labels, _)| !labels.is_empty());
                    Ok((head, answer.scores, answer.report))
                }
            })
            .await
        }
    })?;
    let (labels, activation) = all.head().unwrap_or_default();
    let activation = match activation {
        Activation::Raw => "raw",
        Activation::Sigmoid => "sigmoid",
        Activation::Softmax => "softmax",
        _ => "",
    };
    let head = ClassHead { labels: labels.clone(), activation };
    let report =
        all.report(&items, head, context.output.timings, |_, item, scores| ClassRow::new(item, &labels, scores));
    print(&report, &context.output)
}

/// Finds labelled spans in texts.
pub(crate) fn tag(args: &TagArgs, context: &CommandContext) -> Result<Exit, CommandFailure> {
    let items = read::items(&args.texts, &args.input, args.pair)?;
    let mut all = context.connected(|client| {
        let (client, items) = (client, &items);
        async move {
            gather(items, context.output.quiet, args.text.revisions(), |slice| {
                let mut call = client.tag(slice).options(args.text.options()).revisions(args.text.revisions());
                call = call.per_token_scores(args.token_scores).ignore_labels(&args.ignore_labels);
                call = call.labels(&args.labels).nested(args.nested).multi_label(args.multi_label);
                if let Some(threshold) = args.threshold {
                    call = call.threshold(threshold);
                }
                if let Some(aggregation) = args.aggregation {
                    call = call.aggregation(aggregation.into());
                }
                if let Some(activation) = args.activation {
                    call = call.activation(activation.into());
                }
                async {
                    let answer = call.await?;
                    let labels = Some(answer.labels).filter(|labels| !labels.is_empty());
                    Ok((labels, answer.texts, answer.report))
                }
            })
            .await
        }
    })?;
    let head = TagHead { labels: all.head().unwrap_or_default() };
    let report = all.report(&items, head, context.output.timings, |input, item, found| {
        let spans = found.spans.into_iter().map(|span| SpanRow {
            text: stretch(input, span.range.clone()),
            label: span.label,
            start: span.range.start,
            end: span.range.end,
            score: span.score,
        });
        Some(TagRow { item, spans: spans.collect(), token_scores: found.token_scores })
    });
    print(&report, &context.output)
}

/// The bytes of a span as text.
fn stretch(input: &InputItem, range: std::ops::Range<usize>) -> String {
    input.tagged_text().and_then(|text| text.get(range)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_bytes_and_never_split_a_letter() {
        let input = InputItem::text("zé Ada");
        assert_eq!(stretch(&input, 4..7), "Ada");
        assert_eq!(stretch(&input, 2..4), "");
        assert_eq!(stretch(&input, 4..99), "");
    }
}
