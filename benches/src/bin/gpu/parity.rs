//! Every tiny oracle that the native path serves, and the real models where they are:
//! all cases in one batch, and each alone. Bounds are those of the f16 design row. Sparse vectors are held against the
//! engine's own in f32 on the processor, by their direction as dense ones are.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use sortie_engine::{
    Device, EmbedSpec, EncodeOptions, Executor, LoadError, LoadOptions, Model, Output, Pooling, Sequence, Truncation,
    Want, WorkItem, cosine,
};

use crate::Common;

/// Most difference of a logit, over max(1, |logit|).
const LOGIT: f32 = 5e-3;
/// Least cosine of a vector.
const COSINE: f32 = 0.9999;

#[derive(Deserialize)]
pub(crate) struct ParityAnswers {
    pub(crate) cases: Vec<ParityCase>,
}

#[derive(Deserialize)]
pub(crate) struct ParityCase {
    input_ids: Vec<u32>,
    #[serde(default)]
    token_type_ids: Vec<u32>,
    cls: Option<Vec<f32>>,
    mean: Option<Vec<f32>>,
    last: Option<Vec<f32>>,
    logits: Option<ParityLogits>,
    /// Largest logit that any token gives each entry of the vocabulary.
    vocab_max: Option<Vec<f32>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ParityLogits {
    Sequence(Vec<f32>),
    Tokens(Vec<Vec<f32>>),
}

#[derive(Deserialize)]
struct Real {
    embed: Vec<EmbedCase>,
    rerank: Vec<RerankCase>,
}

#[derive(Deserialize)]
struct EmbedCase {
    text: String,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct RerankCase {
    query: String,
    document: String,
    logit: f32,
}

/// What one model's cases came to.
struct ParityRow {
    name: String,
    /// Number format that it ran in.
    precision: &'static str,
    cases: usize,
    /// Largest logit difference over max(1, |logit|).
    logit: f32,
    /// Least cosine.
    cosine: f32,
    /// Largest difference between alone and batched, over max(1, |number|).
    mates: f32,
}

impl ParityRow {
    fn holds(&self) -> bool {
        self.logit <= LOGIT && self.cosine >= COSINE && self.mates <= LOGIT
    }
}

/// Prints the table; true where all bounds hold.
pub(crate) fn run(common: &Common) -> anyhow::Result<bool> {
    let options = common.options()?;
    let tiny = common.oracle.join("tiny");
    let mut names: Vec<String> = std::fs::read_dir(&tiny)
        .with_context(|| format!("cannot list {}", tiny.display()))?
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    let mut rows = Vec::new();
    for name in names {
        let folder = tiny.join(&name);
        let model = match Model::open(&folder, &options) {
            Ok(model) => model,
            // Families that are served from an ONNX export have none here.
            Err(LoadError::Unsupported { .. }) => {
                println!("{name} is left out: its family is served from an ONNX export");
                continue;
            }
            Err(error) => return Err(error).with_context(|| folder.display().to_string()),
        };
        let expected: ParityAnswers = read(&folder.join("expected.json"))?;
        let cases = expected.cases.iter().flat_map(wanted).collect();
        rows.push(compare(&name, &model, cases)?);
    }
    if let Some(models) = &common.models {
        rows.extend(real(common, models, &options)?);
    }
    println!("\n## Parity with PyTorch, {} on {}\n", rows.first().map_or("nothing", |r| r.precision), common.device);
    println!("| model | cases | largest logit difference | least cosine | alone against batched | |");
    println!("| --- | ---: | ---: | ---: | ---: | --- |");
    for r in &rows {
        let verdict = if r.holds() { "holds" } else { "**fails**" };
        println!("| {} | {} | {:.1e} | {:.6} | {:.1e} | {verdict} |", r.name, r.cases, r.logit, r.cosine, r.mates);
    }
    println!("\nBounds: {LOGIT:.0e}·max(1, |logit|), cosine {COSINE}.");
    Ok(rows.iter().all(ParityRow::holds) && !rows.is_empty())
}

pub(crate) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

pub(crate) fn wanted(case: &ParityCase) -> Vec<(WorkItem, Vec<f32>)> {
    let (ids, type_ids) = (case.input_ids.clone(), case.token_type_ids.clone());
    let sequence = Sequence { ids, type_ids, ..Sequence::default() };
    let item = |want| WorkItem { sequence: sequence.clone(), want };
    let embed =
        |pooling| Want::Embedding(EmbedSpec { pooling: Some(pooling), normalize: Some(false), dimensions: None });
    let mut all = Vec::new();
    all.extend(case.cls.clone().map(|v| (item(embed(Pooling::Cls)), v)));
    all.extend(case.mean.clone().map(|v| (item(embed(Pooling::Mean)), v)));
    all.extend(case.last.clone().map(|v| (item(embed(Pooling::Last)), v)));
    let sparse = |row: &Vec<f32>| row.iter().map(|v| v.max(0.0).ln_1p()).collect();
    all.extend(case.vocab_max.as_ref().map(|row| (item(Want::Sparse), sparse(row))));
    match &case.logits {
        Some(ParityLogits::Sequence(v)) => all.push((item(Want::Logits), v.clone())),
        Some(ParityLogits::Tokens(rows)) => all.push((item(Want::TokenLogits), rows.concat())),
        None => {}
    }
    all
}

/// The real models, where their folders are.
fn real(common: &Common, models: &Path, options: &LoadOptions) -> anyhow::Result<Vec<ParityRow>> {
    let expected: Real = read(&common.oracle.join("minilm.json"))?;
    // The oracle cuts at 512 tokens; the folders intend fewer.
    let options = LoadOptions { max_length: Some(512), ..options.clone() };
    let mut rows = Vec::new();
    // The second is an f32 export of the same weights, on the generic path.
    for name in ["minilm", "minilm-onnx"] {
        let folder = models.join(name);
        if !folder.is_dir() {
            continue;
        }
        let model = Model::open(&folder, &options)?;
        let want = Want::Embedding(model.info().embed);
        let encode = |text: &str| model.tokenizer().encode(text, &EncodeOptions::default());
        let cases = expected
            .embed
            .iter()
            .map(|c| Ok((WorkItem { sequence: encode(&c.text)?, want }, c.embedding.clone())))
            .collect::<anyhow::Result<_>>()?;
        rows.push(compare(&format!("{name} (real)"), &model, cases)?);
    }
    let splade = models.join("splade");
    if splade.is_dir() {
        let model = Model::open(&splade, &options)?;
        let encode = |text: &str| model.tokenizer().encode(text, &EncodeOptions::default());
        let items = expected.embed.iter().map(|c| Ok(WorkItem { sequence: encode(&c.text)?, want: Want::Sparse }));
        let items = items.collect::<anyhow::Result<Vec<_>>>()?;
        let truth = Executor::on(&model, Device::Cpu)?.run(&items.iter().collect::<Vec<_>>());
        let cases = items.into_iter().zip(truth).map(|(item, truth)| Ok((item, numbers(truth, &model)?)));
        rows.push(compare("splade (real)", &model, cases.collect::<anyhow::Result<_>>()?)?);
    }
    let reranker = models.join("reranker");
    if reranker.is_dir() {
        let model = Model::open(&reranker, &options)?;
        let encode_options = EncodeOptions { truncation: Truncation::LongestFirst, ..EncodeOptions::default() };
        let cases = expected
            .rerank
            .iter()
            .map(|c| {
                let query = model.tokenizer().query(&c.query, &encode_options)?;
                let sequence = model.tokenizer().encode_with(&query, &c.document)?;
                Ok((WorkItem { sequence, want: Want::Logits }, vec![c.logit]))
            })
            .collect::<anyhow::Result<_>>()?;
        rows.push(compare("reranker (real)", &model, cases)?);
    }
    Ok(rows)
}

fn compare(name: &str, model: &Model, cases: Vec<(WorkItem, Vec<f32>)>) -> anyhow::Result<ParityRow> {
    let mut executor = Executor::new(model)?;
    executor.capture();
    let items: Vec<&WorkItem> = cases.iter().map(|(item, _)| item).collect();
    let together = executor.run(&items);
    let mut row = ParityRow {
        name: name.to_owned(),
        precision: model.info().precision,
        cases: cases.len(),
        logit: 0.0,
        cosine: 1.0,
        mates: 0.0,
    };
    for ((item, want), got) in cases.iter().zip(together) {
        let got = numbers(got, model)?;
        if got.len() != want.len() {
            bail!("{name}: {} numbers, not {}", got.len(), want.len());
        }
        match item.want {
            Want::Embedding(_) | Want::Sparse => row.cosine = row.cosine.min(cosine(&got, want)),
            _ => row.logit = row.logit.max(difference(&got, want)),
        }
        let alone = numbers(executor.run(&[item]).into_iter().next().context("no answer")?, model)?;
        row.mates = row.mates.max(difference(&alone, &got));
    }
    Ok(row)
}

/// An answer's numbers, a sparse vector's with all its zeros.
pub(crate) fn numbers(answer: Result<Output, sortie_engine::ItemFault>, model: &Model) -> anyhow::Result<Vec<f32>> {
    match answer? {
        Output::Logits(v) | Output::TokenLogits(v) | Output::Embedding(v) => Ok(v),
        Output::TokenEmbeddings(vectors) => Ok(vectors.values),
        Output::SpanScores(_) => bail!("spans are not compared here"),
        Output::Sparse(weights) => {
            let mut all = vec![0.0; model.info().vocab_size];
            for (id, weight) in weights {
                *all.get_mut(usize::try_from(id)?).context("an id outside the vocabulary")? = weight;
            }
            Ok(all)
        }
    }
}

fn difference(got: &[f32], want: &[f32]) -> f32 {
    got.iter().zip(want).map(|(g, w)| (g - w).abs() / w.abs().max(1.0)).fold(0.0, f32::max)
}
