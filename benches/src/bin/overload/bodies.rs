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
use serde_json::json;

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
        let mut chance = Chance(tokens);
        let mean = (tokens / DOCUMENTS).saturating_sub(QUERY_TOKENS).max(20);
        let text = |tokens: u64, chance: &mut Chance| {
            let words: Vec<&str> = (0..tokens.max(1)).map(|_| WORDS[chance.below(WORDS.len())]).collect();
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

/// A `sortie.v1.RerankRequest` on the wire: `query = 2` and `documents = 3`, each an `Input` with `text = 1`. By hand,
/// so that this tool needs no protobuf.
fn request(job: &JobBody) -> Vec<u8> {
    let input = |text: &str| field(1, text.as_bytes());
    let mut body = field(2, &input(&job.query));
    job.documents.iter().for_each(|document| body.extend(field(3, &input(document))));
    body
}

/// A field with a length: its number and wire type 2, the length as a varint, the bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut left = bytes.len();
    while left >= 0x80 {
        out.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
    out.extend(bytes);
    out
}

/// Splitmix64: small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) % limit.max(1) as u64) as usize
    }
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

    #[test]
    fn a_field_is_as_protobuf_has_it() {
        assert_eq!(field(1, b"ab"), [0x0a, 2, b'a', b'b']);
        let long = field(3, &[7; 300]);
        assert_eq!((&long[..3], long.len()), (&[0x1a, 0xac, 0x02][..], 303));
    }
}
