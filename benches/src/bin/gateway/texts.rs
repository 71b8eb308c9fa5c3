//! The jobs: documents of one length in words of many letters, other ones in every job.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::Serialize;

/// Letters of a line, after which text is broken: what JSON has to escape.
const LINE: usize = 80;

/// Words that texts are made of.
const WORDS: [&str; 12] =
    ["sea", "of", "the", "parser", "\"quoted\"", "argument", "naïve", "to", "clock", "fleet", "reads", "a"];

/// A question and what is to be ranked.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TextJob {
    pub(super) query: String,
    pub(super) documents: Vec<String>,
}

/// How many documents of how many bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobShape {
    pub(super) documents: usize,
    pub(super) bytes: usize,
}

impl JobShape {
    /// The job of the aim.
    pub(super) const LARGE: Self = Self { documents: 200, bytes: 2_000 };

    /// A short list of short passages.
    pub(super) const SMALL: Self = Self { documents: 10, bytes: 500 };

    /// Job number `n`.
    pub(super) fn job(self, n: u64) -> TextJob {
        let mut random = StdRng::seed_from_u64(n);
        TextJob {
            query: format!("what is number {n} about"),
            documents: (0..self.documents).map(|_| text(&mut random, self.bytes)).collect(),
        }
    }
}

impl std::fmt::Display for JobShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} documents of {} bytes", self.documents, self.bytes)
    }
}

/// Words until there are so many bytes.
fn text(random: &mut StdRng, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + LINE);
    let mut line = 0;
    while text.len() < bytes {
        let before = text.len();
        text += WORDS[random.random_range(0..WORDS.len())];
        line += text.len() - before;
        text.push(if line > LINE { '\n' } else { ' ' });
        line = if line > LINE { 0 } else { line + 1 };
    }
    // What is too much may end within a letter.
    text.truncate((0..=bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_have_their_shape_and_are_different() {
        let (one, other) = (JobShape::LARGE.job(1), JobShape::LARGE.job(2));
        assert_eq!(one.documents.len(), 200);
        assert!(one.documents.iter().all(|text| (1_990..=2_000).contains(&text.len())));
        assert!(one.documents.iter().any(|text| text.contains('\n')));
        assert_ne!(one.documents, other.documents);
        assert_eq!(one.documents, JobShape::LARGE.job(1).documents);
    }
}
