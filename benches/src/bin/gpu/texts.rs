//! What servers are asked: texts made of whole words of a real tokenizer, and a model folder that reads them.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use sortie_benches::rerank_items;
use sortie_client::{Client, Report};
use sortie_engine::write_sample;

use crate::{Common, ModelShape};

/// Tokens of the query: a sentence of a search box.
const QUERY_WORDS: usize = 9;

/// `[CLS]`, and `[SEP]` twice.
const SPECIALS: usize = 3;

/// Fewer words would make too few different texts.
const LEAST_WORDS: usize = 1_000;

/// Files of a tokenizer.
const TOKENIZER: [&str; 4] = ["tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"];

/// A model of made-up weights with the reranker's tokenizer.
pub(crate) struct ServableModel {
    pub(crate) shape: ModelShape,
    /// Its folder.
    pub(crate) folder: tempfile::TempDir,
    /// Its tokenizer's whole words.
    pub(crate) words: Vec<String>,
}

/// Runs a part that serves models for each shape that was asked for, but not the large one: made-up weights of its size
/// show nothing more.
pub(crate) fn for_each_model(
    common: &Common,
    part: impl AsyncFn(&Common, &ServableModel) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let real = common.models.as_ref().map(|m| m.join("reranker"));
    let Some(real) = real.filter(|f| f.join("tokenizer.json").is_file()) else {
        println!("\nServing is left out: --models names no folder with reranker/tokenizer.json");
        return Ok(());
    };
    let words = words(&real.join("tokenizer.json"))?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start tokio")?;
    for &shape in common.shapes.iter().filter(|s| !matches!(s, ModelShape::Large)) {
        let folder = tempfile::tempdir()?;
        write_sample(folder.path(), shape.sample(), true)?;
        for name in TOKENIZER.into_iter().filter(|name| real.join(name).is_file()) {
            std::fs::copy(real.join(name), folder.path().join(name))?;
        }
        let model = ServableModel { shape, folder, words: words.clone() };
        runtime.block_on(part(common, &model)).with_context(|| format!("shape {}", shape.name()))?;
    }
    Ok(())
}

/// Whole words of a WordPiece vocabulary: each is one token.
fn words(tokenizer: &Path) -> anyhow::Result<Vec<String>> {
    let value: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(tokenizer)?)?;
    let vocab = value.pointer("/model/vocab").and_then(|v| v.as_object()).context("the tokenizer has no vocabulary")?;
    let mut words: Vec<String> =
        vocab.keys().filter(|w| w.len() > 2 && w.bytes().all(|b| b.is_ascii_lowercase())).cloned().collect();
    words.sort();
    if words.len() < LEAST_WORDS {
        bail!("{} whole words are too few", words.len());
    }
    Ok(words)
}

/// A rerank job.
pub(crate) struct RerankJob {
    pub(crate) query: String,
    pub(crate) documents: Vec<String>,
    /// Tokens of all pairs.
    pub(crate) tokens: usize,
}

impl RerankJob {
    /// 200 documents whose pairs have the committed lengths.
    pub(crate) fn of_200(words: &[String]) -> anyhow::Result<Self> {
        let lengths: Vec<usize> = rerank_items()?.iter().map(Vec::len).collect();
        let documents = lengths.iter().map(|&n| n.saturating_sub(QUERY_WORDS + SPECIALS).max(1));
        let mut at = 0_usize;
        let mut word = || {
            at = at.wrapping_add(7_919);
            at
        };
        let (query, documents) = texts(words, documents, &mut word);
        Ok(Self { query, documents, tokens: lengths.iter().sum() })
    }

    /// Documents of so many words, each picked by `pick`.
    pub(crate) fn of(
        words: &[String],
        lengths: impl ExactSizeIterator<Item = usize>,
        pick: &mut dyn FnMut() -> usize,
    ) -> Self {
        let mut tokens = lengths.len() * (QUERY_WORDS + SPECIALS);
        let (query, documents) = texts(words, lengths.inspect(|n| tokens += n), pick);
        Self { query, documents, tokens }
    }

    /// Its answer: a score a document, and how it went.
    pub(crate) async fn run(&self, client: &Client) -> anyhow::Result<(Vec<f32>, Report)> {
        let answer = client.rerank(&self.query, self.documents.iter().map(String::as_str)).await?;
        let scores: Vec<f32> = answer.scores.iter().copied().flatten().collect();
        ensure!(scores.len() == self.documents.len(), "not every document has a score");
        Ok((scores, answer.report))
    }
}

fn texts(
    words: &[String],
    lengths: impl Iterator<Item = usize>,
    pick: &mut dyn FnMut() -> usize,
) -> (String, Vec<String>) {
    let mut text = |n: usize| {
        let picked: Vec<&str> = (0..n).filter_map(|_| words.get(pick() % words.len()).map(String::as_str)).collect();
        picked.join(" ")
    };
    let query = text(QUERY_WORDS);
    (query, lengths.map(text).collect())
}
