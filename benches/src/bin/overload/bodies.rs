//! The jobs that every generator sends: made once, in the form that each of them reads.
//!
//! A job has [`DOCUMENTS`] documents of uneven length and the same tokens as every other, so that answered jobs measure
//! answered tokens. A timed model has a token for every four bytes, begun ones too; a real tokenizer makes about one of
//! each word.
//!
//! Invariant: the files hold the same jobs in the same order.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use sortie_proto::v1::{Input, RerankRequest, input::Kind};

/// Jobs that come in turn: enough that nothing could remember their answers, few enough to be read at once.
const JOBS: usize = 32;

/// Documents of a job.
const DOCUMENTS: u64 = 4;

/// Lengths of the documents of a job, in twentieths of their mean.
const LENGTHS: [u64; DOCUMENTS as usize] = [12, 16, 24, 28];

/// Bytes of a token in a timed model.
const BYTES: usize = 4;

/// Tokens of a query.
const QUERY_TOKENS: u64 = 8;

/// Words of four bytes with the space after them, one token each for a tokenizer of English and for a timed model.
const WORDS: [&str; 32] = [
    "red", "sea", "old", "new", "big", "cat", "dog", "sun", "map", "car", "box", "key", "ice", "oil", "air", "age",
    "arm", "bad", "bed", "bus", "cup", "day", "ear", "egg", "eye", "far", "fun", "hat", "job", "law", "leg", "war",
];

/// The jobs, as files.
#[derive(Debug)]
pub(super) struct Bodies {
    /// One JSON value a line, for `sortie bench --jobs`.
    pub(super) lines: PathBuf,
    /// A JSON array of requests, for ghz.
    pub(super) array: PathBuf,
    /// Requests as they are on the wire, each after its length in four bytes, for our grpcio script.
    pub(super) wire: PathBuf,
    /// Tokens of a job, of every pair of query and document together.
    pub(super) tokens: f64,
}

/// One job.
struct JobBody {
    query: String,
    documents: Vec<String>,
}

impl Bodies {
    /// Jobs of about so many tokens, in `scratch`.
    pub(super) fn make(tokens: u64, name: &str, scratch: &Path) -> anyhow::Result<Self> {
        let mut chance = StdRng::seed_from_u64(tokens);
        let mean = (tokens / DOCUMENTS).saturating_sub(QUERY_TOKENS).max(20);
        let text = |tokens: u64, chance: &mut StdRng| {
            let words: Vec<&str> = (0..tokens.max(1)).map(|_| WORDS[chance.random_range(0..WORDS.len())]).collect();
            // The last word's space is missing, and its token whole all the same.
            words.join(" ")
        };
        let jobs: Vec<JobBody> = (0..JOBS)
            .map(|_| {
                let query = text(QUERY_TOKENS, &mut chance);
                let documents = LENGTHS.iter().map(|twentieths| text(mean * twentieths / 20, &mut chance)).collect();
                JobBody { query, documents }
            })
            .collect();
        let write = |end: &str, bytes: Vec<u8>| -> anyhow::Result<PathBuf> {
            let path = scratch.join(format!("{name}.{end}"));
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path)
        };
        let lines: String = jobs
            .iter()
            .map(|job| json!({ "query": job.query, "documents": job.documents }).to_string() + "\n")
            .collect();
        let input = |text: &String| json!({ "text": text });
        let array: Vec<_> = jobs
            .iter()
            .map(|job| json!({ "query": input(&job.query), "documents": job.documents.iter().map(input).collect::<Vec<_>>() }))
            .collect();
        let mut wire = Vec::new();
        for job in &jobs {
            let body = request(job);
            wire.extend(u32::try_from(body.len()).context("a job is too long")?.to_le_bytes());
            wire.extend(body);
        }
        Ok(Self {
            lines: write("jsonl", lines.into_bytes())?,
            array: write("json", serde_json::to_vec(&array)?)?,
            wire: write("bin", wire)?,
            tokens: jobs.first().map_or(0.0, |job| job.tokens() as f64),
        })
    }
}

impl JobBody {
    /// Tokens in a timed model: those of the query count with every document.
    fn tokens(&self) -> usize {
        let of = |text: &String| text.len().div_ceil(BYTES);
        self.documents.iter().map(|document| of(document) + of(&self.query)).sum()
    }
}

/// A request on the wire.
fn request(job: &JobBody) -> Vec<u8> {
    let input = |text: &String| Input { kind: Some(Kind::Text(text.clone())) };
    let documents = job.documents.iter().map(input).collect();
    RerankRequest { query: Some(input(&job.query)), documents, ..RerankRequest::default() }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_equal_in_tokens_and_the_same_in_every_file() {
        let dir = tempfile::tempdir().unwrap();
        let bodies = Bodies::make(440, "x", dir.path()).unwrap();
        assert!((bodies.tokens - 440.0).abs() < 10.0, "{}", bodies.tokens);
        let lines = fs::read_to_string(&bodies.lines).unwrap();
        let array: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(&bodies.array).unwrap()).unwrap();
        assert_eq!((lines.lines().count(), array.len()), (JOBS, JOBS));
        let mut wire = fs::read(&bodies.wire).unwrap();
        for (line, value) in lines.lines().zip(&array) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            let job = JobBody {
                query: text(&line["query"]),
                documents: line["documents"].as_array().unwrap().iter().map(text).collect(),
            };
            assert_eq!(job.tokens() as f64, bodies.tokens);
            assert_eq!(value["query"]["text"], line["query"]);
            assert_eq!(value["documents"][3]["text"], line["documents"][3]);
            let rest = wire.split_off(4);
            let size = u32::from_le_bytes(wire.try_into().unwrap()) as usize;
            assert_eq!(rest[..size], request(&job));
            wire = rest[size..].to_vec();
        }
        assert!(wire.is_empty());
    }
}
