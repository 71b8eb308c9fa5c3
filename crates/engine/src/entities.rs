//! From scored tokens to labelled stretches of a text: the five strategies of transformers' token-classification pipeline,
//! exactly, and one of our own.
//!
//! | strategy | tokens are first joined to | then |
//! | --- | --- | --- |
//! | none | nothing | one stretch a token, under its full label |
//! | simple | nothing | neighbours of one entity are one stretch |
//! | first, average, max | what the pipeline takes for a word, with one label a word | neighbours of one entity are one stretch |
//! | words | words by script and tokenizer ([`TokenDetail::continues`]): the first token's label goes for all | neighbours of one entity are one stretch |
//!
//! A label is `B-x`, `I-x` or `x`; its entity is `x`, and `B-x` starts a stretch. The pipeline's words are a guess where a
//! tokenizer has no mark for the pieces of a word: all up to the next space. So `Paris,` is one word to it, and a Japanese
//! sentence is; [`Aggregation::Words`] joins neither.

use crate::tokenize::TokenDetail;

/// How tokens become stretches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    /// One stretch a token.
    None,
    /// Neighbouring tokens of one entity.
    Simple,
    /// Words with the label of their first token.
    First,
    /// Words with the label whose mean score over their tokens is best.
    Average,
    /// Words with the label of the token with the best score.
    Max,
    /// Words by script and tokenizer; ours.
    #[default]
    Words,
}

/// A labelled stretch of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// The full label of a token, or the entity of a joined stretch.
    pub label: String,
    /// First byte.
    pub start: usize,
    /// Byte behind the last.
    pub end: usize,
    /// Mean over what was joined.
    pub score: f32,
}

/// What of a tokenizer tells the pieces of a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WordRules {
    /// Its vocabulary marks tokens that go on with a word (WordPiece's `##`).
    pub marks_pieces: bool,
    /// Id of its unknown token, which is always a word.
    pub unknown: Option<u32>,
}

/// A scored token, or a word of them.
struct ScoredToken<'a> {
    label: &'a str,
    score: f32,
    start: usize,
    end: usize,
}

/// Stretches of `text`, in order. `scores` holds a row of `labels.len()` probabilities a token; `ids` and `details` are
/// the tokens. Stretches whose label or entity is in `ignored` are left out; an empty list means `O`.
#[must_use]
pub fn entities(
    text: &str,
    (ids, details): (&[u32], &[TokenDetail]),
    scores: &[f32],
    labels: &[String],
    (aggregation, rules): (Aggregation, WordRules),
    ignored: &[String],
) -> Vec<Entity> {
    let rows = details.iter().zip(ids).zip(scores.chunks_exact(labels.len().max(1)));
    let tokens: Vec<(&TokenDetail, u32, &[f32])> =
        rows.filter(|((d, _), _)| !d.special && !d.second).map(|((d, &id), row)| (d, id, row)).collect();
    let best = |row: &[f32]| argmax(row).and_then(|i| Some((labels.get(i)?.as_str(), row[i])));
    let one = |&(d, _, row): &(&TokenDetail, u32, &'_ [f32])| {
        best(row).map(|(label, score)| ScoredToken { label, score, start: d.start, end: d.end })
    };
    let scored: Vec<ScoredToken<'_>> = match aggregation {
        Aggregation::None | Aggregation::Simple => tokens.iter().filter_map(one).collect(),
        _ => {
            let goes_on = |at: usize| {
                let (detail, id, _) = tokens[at];
                match aggregation {
                    Aggregation::Words => detail.continues,
                    _ => is_piece(text, detail, id, rules),
                }
            };
            let mut words: Vec<ScoredToken<'_>> = Vec::new();
            let mut start = 0;
            for at in 1..=tokens.len() {
                if at < tokens.len() && goes_on(at) {
                    continue;
                }
                words.extend(word(&tokens[start..at], labels, aggregation));
                start = at;
            }
            words
        }
    };
    let is_ignored =
        |label: &str| if ignored.is_empty() { label == OUTSIDE } else { ignored.iter().any(|i| i == label) };
    let stretches = match aggregation {
        Aggregation::None => scored
            .into_iter()
            .map(|s| Entity { label: s.label.to_owned(), start: s.start, end: s.end, score: s.score })
            .collect(),
        _ => grouped(&scored),
    };
    stretches.into_iter().filter(|stretch| !is_ignored(&stretch.label)).collect()
}

/// The label that means "nothing here" where the caller names none.
const OUTSIDE: &str = "O";

/// One label for the tokens of a word.
fn word<'a>(tokens: &[(&TokenDetail, u32, &[f32])], labels: &'a [String], by: Aggregation) -> Option<ScoredToken<'a>> {
    let (first, last) = (tokens.first()?, tokens.last()?);
    let row: Vec<f32> = match by {
        Aggregation::Average => {
            #[expect(clippy::cast_precision_loss, reason = "a word has few tokens")]
            let share = 1.0 / tokens.len() as f32;
            (0..labels.len())
                .map(|l| tokens.iter().map(|t| t.2.get(l).copied().unwrap_or(0.0)).sum::<f32>() * share)
                .collect()
        }
        Aggregation::Max => {
            let most = |row: &[f32]| row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            // The first of those with the same best score.
            let best = tokens.iter().fold(first, |best, t| if most(t.2) > most(best.2) { t } else { best });
            best.2.to_vec()
        }
        _ => first.2.to_vec(),
    };
    let at = argmax(&row)?;
    Some(ScoredToken { label: labels.get(at)?, score: row[at], start: first.0.start, end: last.0.end })
}

/// Joins neighbours of one entity.
fn grouped(scored: &[ScoredToken<'_>]) -> Vec<Entity> {
    let mut groups: Vec<Entity> = Vec::new();
    let mut counts: Vec<u16> = Vec::new();
    let mut last = "";
    for s in scored {
        let (begins, entity) = parts(s.label);
        match (groups.last_mut(), counts.last_mut()) {
            (Some(group), Some(count)) if entity == parts(last).1 && !begins => {
                group.end = s.end;
                group.score += s.score;
                *count = count.saturating_add(1);
            }
            _ => {
                // The library names a group by what stands after the first dash of its first label.
                let label = s.label.split_once('-').map_or(s.label, |(_, rest)| rest).to_owned();
                groups.push(Entity { label, start: s.start, end: s.end, score: s.score });
                counts.push(1);
            }
        }
        last = s.label;
    }
    for (group, count) in groups.iter_mut().zip(counts) {
        group.score /= f32::from(count);
    }
    groups
}

/// Whether a label begins a stretch, and its entity.
fn parts(label: &str) -> (bool, &str) {
    match (label.strip_prefix("B-"), label.strip_prefix("I-")) {
        (Some(entity), _) => (true, entity),
        (_, Some(entity)) => (false, entity),
        _ => (false, label),
    }
}

/// Whether the pipeline takes a token for a piece of the word before it.
fn is_piece(text: &str, detail: &TokenDetail, id: u32, rules: WordRules) -> bool {
    if rules.unknown == Some(id) {
        return false;
    }
    if rules.marks_pieces {
        let covered = text.get(detail.start..detail.end).unwrap_or_default();
        return detail.token.chars().count() != covered.chars().count();
    }
    // The characters before and at its start.
    let before = text.get(..detail.start).and_then(|t| t.chars().next_back());
    let at = text.get(detail.start..).and_then(|t| t.chars().next());
    before.is_some_and(|c| c != ' ') && at != Some(' ')
}

fn argmax(row: &[f32]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (i, x) in row.iter().enumerate() {
        if best.is_none_or(|b| *x > row[b]) {
            best = Some(i);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(token: &str, start: usize, end: usize) -> TokenDetail {
        TokenDetail { token: token.to_owned(), start, end, special: false, second: false, continues: false }
    }

    fn labels() -> Vec<String> {
        ["O", "B-PER", "I-PER", "B-LOC"].map(String::from).to_vec()
    }

    /// Probabilities of which one stands out.
    fn row(best: usize, score: f32) -> Vec<f32> {
        (0..4).map(|i| if i == best { score } else { (1.0 - score) / 3.0 }).collect()
    }

    fn of(aggregation: Aggregation) -> Vec<(String, usize, usize)> {
        // WordPiece: "micro ##soft anna".
        let details = [detail("micro", 0, 5), detail("##soft", 5, 9), detail("anna", 10, 14)];
        let scores = [row(1, 0.6), row(3, 0.9), row(2, 0.8)].concat();
        let rules = WordRules { marks_pieces: true, unknown: Some(0) };
        let got = entities("microsoft anna", (&[5, 6, 7], &details), &scores, &labels(), (aggregation, rules), &[]);
        got.into_iter().map(|e| (e.label, e.start, e.end)).collect()
    }

    #[test]
    fn each_strategy_labels_words_its_own_way() {
        let s = |label: &str, start, end| (label.to_owned(), start, end);
        assert_eq!(of(Aggregation::None), [s("B-PER", 0, 5), s("B-LOC", 5, 9), s("I-PER", 10, 14)]);
        assert_eq!(of(Aggregation::Simple), [s("PER", 0, 5), s("LOC", 5, 9), s("PER", 10, 14)]);
        assert_eq!(of(Aggregation::First), [s("PER", 0, 14)]);
        assert_eq!(of(Aggregation::Max), [s("LOC", 0, 9), s("PER", 10, 14)]);
        assert_eq!(of(Aggregation::Average), [s("LOC", 0, 9), s("PER", 10, 14)]);
    }

    #[test]
    fn special_tokens_and_ignored_labels_make_no_stretch() {
        let special = TokenDetail { special: true, ..detail("[CLS]", 0, 0) };
        let details = [special, detail("a", 0, 1), detail("b", 2, 3)];
        let scores = [row(1, 0.9), row(0, 0.9), row(3, 0.9)].concat();
        let all = |ignored: &[String]| {
            let how = (Aggregation::Simple, WordRules::default());
            let got = entities("a b", (&[1, 2, 3], &details), &scores, &labels(), how, ignored);
            got.into_iter().map(|e| e.label).collect::<Vec<_>>()
        };
        assert_eq!(all(&[]), ["LOC"]);
        assert_eq!(all(&["LOC".to_owned()]), ["O"]);
    }
}
