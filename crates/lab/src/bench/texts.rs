//! What jobs are made of: a pool of documents and queries, made or read once, and the scores seen for each pair.
//!
//! Jobs draw from the pool, so that making them costs the client little beside sending them. A pair that comes again
//! must be scored as before: an answer that got into another's place shows.

use std::{
    fs,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

use super::{jobs::BenchJob, target::BenchError};
use crate::sizes::SizeDistribution;

/// Documents made: enough for many jobs without repetition, few enough to be made at once.
const POOL: usize = 4_096;

/// Queries made.
const QUERIES: usize = 16;

/// Words of a query.
const QUERY_WORDS: usize = 5;

/// How far two scores of one pair may lie apart, relative to `max(1, |score|)`: half precision's, the bound of parity in docs/benchmarks.md.
const TOLERANCE: f32 = 5e-3;

/// Bits of an f32 that no score has: nothing was seen.
const UNSEEN: u32 = f32::NAN.to_bits();

/// Plain words: a tokenizer of English makes about one token of each.
const WORDS: [&str; 64] = [
    "about", "after", "again", "allow", "array", "async", "back", "begin", "block", "build", "cache", "call", "check",
    "clear", "clock", "close", "code", "count", "crate", "data", "device", "down", "early", "engine", "error", "event",
    "fast", "field", "file", "first", "fleet", "found", "frame", "graph", "group", "hand", "house", "index", "large",
    "later", "light", "limit", "line", "list", "model", "never", "number", "order", "other", "place", "point", "query",
    "queue", "river", "score", "server", "short", "small", "stone", "table", "thing", "token", "water", "world",
];

/// Documents, queries and what was scored so far.
#[derive(Debug)]
pub(crate) struct TextPool {
    documents: Vec<Arc<str>>,
    queries: Vec<Arc<str>>,
    /// One a query and document: the bits of the first score.
    seen: Vec<AtomicU32>,
    /// The documents of each job where jobs are given; its query is the one of its place.
    jobs: Arc<[Range<usize>]>,
    /// The right score of each document of jobs that are given; NaN where none is known, empty without any.
    reference: Vec<f32>,
}

/// An answer beside its reference.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ComparedJob {
    /// Documents below one that the reference has clearly below them.
    pub(crate) misplaced: usize,
    /// How far a score lies from its reference at most.
    pub(crate) worst_error: f32,
}

/// A job of a file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Given {
    query: String,
    documents: Vec<String>,
    /// Their right scores, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scores: Option<Vec<f32>>,
}

impl TextPool {
    /// Makes documents of `bytes` bytes from `seed`, and queries where none are given.
    pub(crate) fn made(bytes: SizeDistribution, queries: &[String], seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let documents = (0..POOL).map(|_| text(bytes.draw(&mut rng) as usize, &mut rng)).collect();
        Self::new(documents, queries, &mut rng)
    }

    /// Reads documents, one a line; makes queries where none are given.
    pub(crate) fn read(path: &Path, queries: &[String], seed: u64) -> Result<Self, BenchError> {
        let wrong = |what: String| BenchError::file("--texts", path, what);
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let documents: Vec<Arc<str>> = text.lines().filter(|line| !line.trim().is_empty()).map(Arc::from).collect();
        if documents.is_empty() {
            return Err(wrong("there is no text in it".to_owned()));
        }
        Ok(Self::new(documents, queries, &mut StdRng::seed_from_u64(seed)))
    }

    /// Reads jobs, one JSON value a line. Where `squashed`, reference scores become what a sigmoid makes of them.
    pub(crate) fn jobs(path: &Path, squashed: bool) -> Result<Self, BenchError> {
        let wrong = |what: String| BenchError::file("--jobs", path, what);
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let (mut documents, mut queries, mut jobs, mut reference) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let job: Given =
                serde_json::from_str(line).map_err(|error| wrong(format!("line {}: {error}", number + 1)))?;
            if job.query.is_empty() || job.documents.is_empty() {
                return Err(wrong(format!("line {}: there is no query or no document", number + 1)));
            }
            let count = job.documents.len();
            match job.scores {
                None => reference.extend(std::iter::repeat_n(f32::NAN, count)),
                Some(scores) if scores.len() == count && scores.iter().all(|score| score.is_finite()) => {
                    let as_given = |score: f32| if squashed { 1.0 / (1.0 + (-score).exp()) } else { score };
                    reference.extend(scores.into_iter().map(as_given));
                }
                Some(_) => {
                    return Err(wrong(format!("line {}: scores must be one number a document", number + 1)));
                }
            }
            let first = documents.len();
            documents.extend(job.documents.into_iter().map(Arc::from));
            queries.push(job.query);
            jobs.push(first..documents.len());
        }
        if jobs.is_empty() {
            return Err(wrong("there is no job in it".to_owned()));
        }
        let pool = Self::new(documents, &queries, &mut StdRng::seed_from_u64(0));
        for (query, documents) in jobs.iter().enumerate() {
            for document in documents.clone() {
                let known = reference.get(document).copied().filter(|score| score.is_finite());
                // What is not known stays unseen.
                if let Some(score) = known {
                    pool.agrees(query, document, score);
                }
            }
        }
        Ok(Self { jobs: jobs.into(), reference, ..pool })
    }

    /// Writes the jobs that were given with the scores that were seen; jobs that lack one have none.
    pub(crate) fn save(&self, path: &Path) -> Result<(), BenchError> {
        let mut text = String::new();
        for (query, documents) in self.jobs.iter().enumerate() {
            let seen = documents.clone().map(|document| self.seen(query, document));
            let job = Given {
                query: self.query(query).to_owned(),
                documents: documents.clone().map(|document| self.document(document).to_owned()).collect(),
                scores: seen.collect(),
            };
            let line = serde_json::to_string(&job);
            text += &line.map_err(|error| BenchError::unwritten("--save-reference", path, error))?;
            text.push('\n');
        }
        fs::write(path, text).map_err(|error| BenchError::unwritten("--save-reference", path, error))
    }

    /// The first score of a pair, if there was one.
    fn seen(&self, query: usize, document: usize) -> Option<f32> {
        let bits = self.seen.get(query * self.documents.len() + document)?.load(Ordering::Relaxed);
        (bits != UNSEEN).then(|| f32::from_bits(bits))
    }

    /// Holds a job's scores against the reference. Two documents are in the wrong order where the reference has one above
    /// the other by more than both may be off, and the answer has it below.
    pub(crate) fn compare(&self, job: &BenchJob, values: &[Option<f32>]) -> ComparedJob {
        let pairs = job.documents.iter().zip(values).filter_map(|(&document, value)| {
            let right = self.reference.get(document).copied().filter(|score| score.is_finite())?;
            Some((right, value.filter(|value| value.is_finite())?))
        });
        let mut pairs: Vec<(f32, f32)> = pairs.collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut compared = ComparedJob::default();
        // The best answer among those that are clearly below the one at hand.
        let (mut below, mut best) = (0, f32::NEG_INFINITY);
        for &(right, value) in &pairs {
            while let Some((lower, other)) =
                pairs.get(below).filter(|(lower, _)| right - lower > 2.0 * allowance(right))
            {
                debug_assert!(lower < &right);
                best = best.max(*other);
                below += 1;
            }
            compared.misplaced += usize::from(value < best);
            compared.worst_error = compared.worst_error.max((value - right).abs());
        }
        compared
    }

    fn new(documents: Vec<Arc<str>>, queries: &[String], rng: &mut StdRng) -> Self {
        let queries: Vec<Arc<str>> = match queries {
            [] => (0..QUERIES).map(|_| text(QUERY_WORDS * 6, rng)).collect(),
            given => given.iter().map(|text| Arc::from(text.as_str())).collect(),
        };
        let seen = (0..documents.len() * queries.len()).map(|_| AtomicU32::new(UNSEEN)).collect();
        Self { documents, queries, seen, jobs: Arc::default(), reference: Vec::new() }
    }

    /// The documents of each job that was given; none where jobs are drawn.
    pub(crate) fn given(&self) -> Arc<[Range<usize>]> {
        Arc::clone(&self.jobs)
    }

    /// Mean documents of a job, where jobs are drawn so many.
    pub(crate) fn mean_documents(&self, drawn: SizeDistribution) -> f64 {
        match self.jobs.len() {
            0 => drawn.mean(),
            jobs => self.documents.len() as f64 / jobs as f64,
        }
    }

    /// How many documents there are.
    pub(crate) fn len(&self) -> usize {
        self.documents.len()
    }

    /// How many queries there are.
    pub(crate) fn queries(&self) -> usize {
        self.queries.len()
    }

    /// A query.
    pub(crate) fn query(&self, index: usize) -> &str {
        self.queries.get(index).map_or("", |text| text)
    }

    /// A document.
    pub(crate) fn document(&self, index: usize) -> &str {
        self.documents.get(index).map_or("", |text| text)
    }

    /// Mean bytes of a document.
    pub(crate) fn mean_bytes(&self) -> f64 {
        self.mean_over_sizes(|bytes| bytes as f64)
    }

    /// The mean of `of` over the documents' bytes.
    pub(crate) fn mean_over_sizes(&self, of: impl Fn(usize) -> f64) -> f64 {
        self.documents.iter().map(|text| of(text.len())).sum::<f64>() / self.documents.len().max(1) as f64
    }

    /// Whether a pair's score is what it was the first time.
    pub(crate) fn agrees(&self, query: usize, document: usize, score: f32) -> bool {
        let Some(place) = self.seen.get(query * self.documents.len() + document) else { return false };
        match place.compare_exchange(UNSEEN, score.to_bits(), Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(bits) => {
                let first = f32::from_bits(bits);
                (score - first).abs() <= allowance(first)
            }
        }
    }
}

/// How far two scores of one pair may lie apart.
fn allowance(score: f32) -> f32 {
    TOLERANCE * score.abs().max(1.0)
}

/// Words up to just `bytes` bytes.
fn text(bytes: usize, rng: &mut StdRng) -> Arc<str> {
    let mut text = String::with_capacity(bytes + 8);
    while text.len() < bytes {
        text.push_str(WORDS[rng.random_range(0..WORDS.len())]);
        text.push(' ');
    }
    text.truncate(bytes);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_bytes_asked_for_and_the_seed_decides() {
        let pool = TextPool::made(SizeDistribution::Uniform(1, 900), &[], 7);
        assert!((0..pool.len()).all(|i| (1..=900).contains(&pool.document(i).len())));
        let again = TextPool::made(SizeDistribution::Uniform(1, 900), &[], 7);
        assert_eq!(pool.documents, again.documents);
        assert_ne!(pool.documents, TextPool::made(SizeDistribution::Uniform(1, 900), &[], 8).documents);
    }

    #[test]
    fn queries_that_are_given_are_asked() {
        let given = ["one".to_owned(), "two".to_owned()];
        let pool = TextPool::made(SizeDistribution::Fixed(10), &given, 7);
        assert_eq!((pool.queries(), pool.query(1)), (2, "two"));
        assert!(pool.agrees(1, pool.len() - 1, 2.0), "the last pair has its place");
    }

    #[test]
    fn jobs_are_read_from_lines_and_what_is_none_is_named() {
        use std::io::Write as _;
        let read = |text: &str| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            TextPool::jobs(file.path(), false)
        };
        let pool =
            read("{\"query\": \"a\", \"documents\": [\"b\", \"c\"]}\n\n{\"query\": \"d\", \"documents\": [\"e\"]}\n");
        let pool = pool.unwrap();
        assert_eq!((pool.given().to_vec(), pool.len(), pool.queries()), (vec![0..2, 2..3], 3, 2));
        assert_eq!((pool.query(1), pool.document(2), pool.mean_documents(SizeDistribution::Fixed(9))), ("d", "e", 1.5));
        for wrong in ["", "{}", "{\"query\": \"a\", \"documents\": []}", "{\"query\": \"\", \"documents\": [\"b\"]}"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_reference_is_held_against_answers_and_can_be_saved() {
        use std::io::Write as _;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "{{\"query\": \"q\", \"documents\": [\"a\", \"b\", \"c\"], \"scores\": [-2, 0, 3]}}").unwrap();
        let pool = TextPool::jobs(file.path(), false).unwrap();
        let job = BenchJob { at: std::time::Duration::ZERO, query: 0, documents: vec![0, 1, 2], cancel: None };
        assert_eq!(pool.compare(&job, &[Some(-2.0), Some(0.0), Some(3.0)]), ComparedJob::default());
        let off = pool.compare(&job, &[Some(1.0), Some(0.0), Some(3.0)]);
        assert_eq!((off.misplaced, off.worst_error), (1, 3.0));
        assert!(pool.agrees(0, 2, 3.001) && !pool.agrees(0, 2, 3.1), "the reference is what was seen first");
        let squashed = TextPool::jobs(file.path(), true).unwrap();
        assert!(squashed.agrees(0, 1, 0.5) && squashed.agrees(0, 2, 0.9526));
        pool.save(file.path()).unwrap();
        assert!(TextPool::jobs(file.path(), false).unwrap().agrees(0, 0, -2.0));
        let ties = pool.compare(&job, &[Some(1.0), Some(1.0), Some(1.0)]);
        assert_eq!(ties.misplaced, 0, "an answer that cannot tell them apart has no wrong order");
    }

    #[test]
    fn a_score_in_the_wrong_place_shows() {
        let pool = TextPool::made(SizeDistribution::Fixed(10), &[], 7);
        assert!(pool.agrees(3, 5, 2.0));
        assert!(pool.agrees(3, 5, 2.001));
        assert!(!pool.agrees(3, 5, 2.1));
        assert!(pool.agrees(4, 5, 2.1), "another query's score is its own");
        assert!(!pool.agrees(3, 5, f32::NAN));
    }
}
