//! Tokens a second on one core: the reference, its `encode_fast`, and what the
//! engine does by default, on the same texts in one run.
//!
//! ```text
//! cargo bench -p sortie-engine --bench tokenize
//! ```
//!
//! The texts are the project's own pages, cut to the size of a rerank document.
//! The files are MiniLM's (fetched by the set-up), a byte-level BPE and a Unigram
//! file trained here, and any folders named in `SORTIE_TOKENIZERS`, with colons
//! between them. Criterion prints elements (tokens) a second.

use std::{
    env, fs,
    hint::black_box,
    path::{Path, PathBuf},
};

use criterion::{BenchmarkId, Criterion, Throughput};
use sortie_engine::{EncodeOptions, Tokenizer};
use tempfile::TempDir;
use tokenizers::{
    AddedToken, PreTokenizerWrapper,
    models::{
        TrainerWrapper,
        bpe::{BPE, BpeTrainer},
        unigram::{Unigram, UnigramTrainer},
    },
    pre_tokenizers::{
        byte_level::ByteLevel,
        metaspace::{Metaspace, PrependScheme},
    },
};

/// Bytes of one document: the median of rerank workloads.
const DOCUMENT: usize = 700;

/// Longer than any document.
const ROOM: usize = 1 << 16;

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Error> {
    let documents = documents()?;
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    let trained = [train_bpe(&documents)?, train_unigram(&documents)?];
    let mut folders: Vec<(String, PathBuf)> = vec![("wordpiece".to_owned(), minilm()?)];
    folders.extend(["bpe", "unigram"].iter().zip(&trained).map(|(name, dir)| ((*name).to_owned(), dir.path().into())));
    let named = env::var("SORTIE_TOKENIZERS").unwrap_or_default();
    folders.extend(named.split(':').filter(|f| !f.is_empty()).map(|f| (f.to_owned(), PathBuf::from(f))));
    for (name, folder) in folders {
        compare(&mut criterion, &name, &folder, &documents)?;
    }
    criterion.final_summary();
    Ok(())
}

fn compare(criterion: &mut Criterion, name: &str, folder: &Path, documents: &[String]) -> Result<(), Error> {
    let mut reference = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json"))?;
    reference.with_padding(None).with_truncation(None)?;
    let ours = Tokenizer::load(folder, ROOM, usize::MAX)?;
    println!("{name}: {:?}", ours.path());
    let options = EncodeOptions::default();
    let tokens: usize = documents.iter().filter_map(|d| ours.encode(d, &options).ok()).map(|s| s.len()).sum();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(tokens as u64));
    let mut add = |id: &str, mut encode: Box<dyn FnMut(&str) -> usize + '_>| {
        group.bench_function(BenchmarkId::from_parameter(id), |bencher| {
            bencher.iter(|| documents.iter().map(|d| encode(black_box(d))).sum::<usize>());
        });
    };
    add("reference encode", Box::new(|d| reference.encode(d, true).map_or(0, |e| e.len())));
    add("reference encode_fast", Box::new(|d| reference.encode_fast(d, true).map_or(0, |e| e.len())));
    add("engine", Box::new(|d| ours.encode(d, &options).map_or(0, |s| s.len())));
    group.finish();
    Ok(())
}

/// The project's pages, cut into documents.
fn documents() -> Result<Vec<String>, Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut text = fs::read_to_string(root.join("README.md"))?;
    let mut pages: Vec<PathBuf> = fs::read_dir(root.join("docs"))?.filter_map(|e| Some(e.ok()?.path())).collect();
    pages.retain(|page| page.extension().is_some_and(|e| e == "md"));
    pages.sort();
    for page in pages {
        text.push_str(&fs::read_to_string(page)?);
    }
    let mut documents = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (document, after) = rest.split_at(rest.ceil_char_boundary(DOCUMENT));
        documents.push(document.to_owned());
        rest = after;
    }
    Ok(documents)
}

/// MiniLM's folder in the set-up's cache.
fn minilm() -> Result<PathBuf, Error> {
    let var = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let user_cache = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    let cache = var("SORTIE_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|cache| cache.join("sortie")))
        .or_else(|| var("HOME").map(|home| home.join(user_cache).join("sortie")))
        .ok_or("HOME is not set")?;
    let folder = cache.join("models/minilm");
    if folder.is_dir() {
        Ok(folder)
    } else {
        Err(format!("{} is missing: run `cargo xtask models`", folder.display()).into())
    }
}

fn train_bpe(documents: &[String]) -> Result<TempDir, Error> {
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    let trainer = BpeTrainer::builder()
        .vocab_size(8_000)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut TrainerWrapper::BpeTrainer(trainer), documents.iter())?;
    saved(&tokenizer)
}

fn train_unigram(documents: &[String]) -> Result<TempDir, Error> {
    let mut tokenizer = tokenizers::Tokenizer::new(Unigram::default());
    let metaspace = Metaspace::new('▁', PrependScheme::Always, true);
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::Metaspace(metaspace)));
    let trainer = UnigramTrainer::builder()
        .vocab_size(8_000)
        .show_progress(false)
        .unk_token(Some("<unk>".to_owned()))
        .special_tokens(vec![AddedToken::from("<unk>", true)])
        .build()?;
    tokenizer.train(&mut TrainerWrapper::UnigramTrainer(trainer), documents.iter())?;
    saved(&tokenizer)
}

fn saved(tokenizer: &tokenizers::Tokenizer) -> Result<TempDir, Error> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string(false)?)?;
    Ok(folder)
}
