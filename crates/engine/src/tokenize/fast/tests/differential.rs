//! What is on by default against the reference, on files of every kind and text
//! of every kind. The short run is part of the normal tests; the long one reads
//! ten million characters:
//!
//! ```text
//! cargo test -p sortie-engine --lib -- --ignored --nocapture ten_million
//! ```
//!
//! `SORTIE_TOKENIZERS`, folders separated by colons, adds files to either.

use std::{env, path::Path};

use tokenizers::{
    PreTokenizerWrapper,
    models::{TrainerWrapper, bpe::BPE, bpe::BpeTrainer, unigram::Unigram, unigram::UnigramTrainer},
    pre_tokenizers::metaspace::{Metaspace, PrependScheme},
};

use super::{
    corpus::{Corpus, KINDS},
    *,
};
use crate::tokenize::{
    EncodeOptions, Tokenizer,
    tests::{bert, load, oracles, roberta, unigram},
};

/// Characters of the short run, all files together.
const SHORT: usize = 600_000;

/// Characters of the long run.
const LONG: usize = 10_000_000;

/// Longer than any text made here.
const ROOM: usize = 1 << 20;

/// Ours and the reference.
struct Pair {
    name: String,
    ours: Tokenizer,
    reference: tokenizers::Tokenizer,
}

impl Pair {
    fn of_folder(folder: &Path) -> Self {
        let mut reference = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
        reference.with_padding(None).with_truncation(None).unwrap();
        let ours = Tokenizer::load(folder, ROOM, u32::MAX as usize).unwrap();
        Self { name: folder.display().to_string(), ours, reference }
    }

    fn of_file(name: &str, file: &Value) -> Self {
        let mut reference = tokenizers::Tokenizer::from_bytes(file.to_string()).unwrap();
        reference.with_padding(None).with_truncation(None).unwrap();
        Self { name: name.to_owned(), ours: load(file, ROOM), reference }
    }

    /// Words of the vocabulary, as they stand in texts.
    fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.reference.get_vocab(false).into_keys().collect();
        words.sort_unstable();
        words.into_iter().map(|w| w.replace("##", "").replace(['Ġ', '▁'], " ")).collect()
    }

    fn same(&self, text: &str) -> bool {
        let ours = self.ours.encode(text, &EncodeOptions::default());
        let truth = self.reference.encode_fast(text, true);
        match (ours, truth) {
            (Ok(ours), Ok(truth)) => ours.ids == truth.get_ids(),
            (ours, truth) => ours.is_err() && truth.is_err(),
        }
    }

    /// Reads texts of every kind until there were so many characters; tells how many.
    fn compare(&self, characters: usize, seed: u64) -> usize {
        let mut corpus = Corpus::new(seed, self.words());
        let mut read = 0;
        for kind in (0..KINDS).cycle() {
            let text = corpus.text(kind);
            assert!(self.same(&text), "{} differs on {:?}", self.name, shortest(text, |t| !self.same(t)));
            read += text.chars().count();
            if read >= characters {
                break;
            }
        }
        read
    }
}

/// Shortens a text while `fails` holds.
fn shortest(text: String, fails: impl Fn(&str) -> bool) -> String {
    let mut left: Vec<char> = text.chars().collect();
    let mut step = left.len() / 2;
    while step > 0 {
        let mut at = 0;
        while at < left.len() {
            let mut less = left.clone();
            less.drain(at..(at + step).min(left.len()));
            if fails(&less.iter().collect::<String>()) { left = less } else { at += step }
        }
        step /= 2;
    }
    left.into_iter().collect()
}

/// Folders named by the environment.
fn named() -> Vec<Pair> {
    let all = env::var("SORTIE_TOKENIZERS").unwrap_or_default();
    all.split(':').filter(|f| !f.is_empty()).map(|folder| Pair::of_folder(Path::new(folder))).collect()
}

/// Variants of the files of the tokenizer's tests: each covered normalizer and pre-tokenizer.
fn made() -> Vec<Pair> {
    let with = |mut file: Value, part: &str, value: Value| {
        file[part] = value;
        file
    };
    let kind = |kind: &str| json!({"type": kind});
    let split = |pattern: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}]})
    };
    let cased = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": false});
    let runs = json!({"type": "Sequence", "normalizers": [
        {"type": "Strip", "strip_left": true, "strip_right": true}, kind("NFKD"), kind("StripAccents"), kind("Lowercase"),
        {"type": "Replace", "pattern": {"String": "''"}, "content": "\""},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]});
    let words = json!({"type": "Sequence", "pretokenizers": [
        kind("WhitespaceSplit"), {"type": "Punctuation", "behavior": "Isolated"}, {"type": "Digits", "individual_digits": true}]});
    let xlmr = json!({"type": "Sequence", "pretokenizers": [
        kind("WhitespaceSplit"), {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}]});
    let first = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true});
    let mut tokens = bert();
    for (at, (content, normalized)) in [("the", true), ("Of", false), ("caf", true)].into_iter().enumerate() {
        let id = 400 + at;
        tokens["added_tokens"].as_array_mut().unwrap().push(json!({
            "id": id, "content": content, "single_word": content != "caf", "lstrip": true, "rstrip": true,
            "normalized": normalized, "special": false}));
    }
    let mut spaced = bert();
    for (at, (content, normalized)) in [("of the", false), ("The Of", true), (" ", false)].into_iter().enumerate() {
        let id = 400 + at;
        spaced["added_tokens"].as_array_mut().unwrap().push(json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": normalized, "special": false}));
    }
    let mut modernbert = with(roberta(), "normalizer", kind("NFC"));
    for (at, content) in ["  ", "   ", "|||IP|||", "the"].into_iter().enumerate() {
        let id = 400 + at;
        modernbert["added_tokens"].as_array_mut().unwrap().push(json!({
            "id": id, "content": content, "single_word": content == "the", "lstrip": false, "rstrip": false,
            "normalized": true, "special": false}));
    }
    let files = [
        ("bert uncased", bert()),
        ("bert with tokens of its own", tokens),
        ("bert with tokens that hold spaces", spaced),
        ("bert cased", with(bert(), "normalizer", cased)),
        ("split words", with(bert(), "pre_tokenizer", words)),
        ("roberta", roberta()),
        ("modernbert", modernbert),
        ("qwen", with(roberta(), "pre_tokenizer", split(suits::SPLITS[0]))),
        ("llama 3", with(roberta(), "pre_tokenizer", split(suits::SPLITS[1]))),
        ("unigram", unigram()),
        ("unigram, words", with(unigram(), "pre_tokenizer", xlmr)),
        ("unigram, first", with(unigram(), "pre_tokenizer", first)),
        ("unigram, albert's", with(unigram(), "normalizer", runs)),
    ];
    files.iter().map(|(name, file)| Pair::of_file(name, file)).collect()
}

/// The real MiniLM and an oracle's file.
fn real() -> Vec<Pair> {
    let minilm = Pair::of_folder(&crate::tokenize::tests::minilm_folder());
    vec![minilm, Pair::of_folder(&oracles().join("tiny/xlm-roberta-base"))]
}

/// Large vocabularies, trained here: byte-level BPE and Unigram.
fn trained() -> Vec<Pair> {
    let mut corpus = Corpus::new(7, Pair::of_folder(&crate::tokenize::tests::minilm_folder()).words());
    let words: Vec<String> = (0..4_000).map(|_| corpus.text(0)).collect();
    // Of every script; too many characters for a small Unigram vocabulary.
    let scripts: Vec<String> = (0..1_000).map(|_| corpus.text(1)).collect();
    let mut bpe = tokenizers::Tokenizer::new(BPE::default());
    bpe.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    let trainer = BpeTrainer::builder()
        .vocab_size(20_000)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    bpe.train(&mut TrainerWrapper::BpeTrainer(trainer), words.iter().chain(&scripts)).unwrap();
    let mut unigram = tokenizers::Tokenizer::new(Unigram::default());
    let metaspace = Metaspace::new('▁', PrependScheme::Always, true);
    unigram.with_pre_tokenizer(Some(PreTokenizerWrapper::Metaspace(metaspace)));
    let trainer = UnigramTrainer::builder()
        .vocab_size(8_000)
        .show_progress(false)
        .unk_token(Some("<unk>".to_owned()))
        .special_tokens(vec![tokenizers::AddedToken::from("<unk>", true)])
        .build()
        .unwrap();
    unigram.train(&mut TrainerWrapper::UnigramTrainer(trainer), words.iter()).unwrap();
    [("trained bpe", bpe), ("trained unigram", unigram)]
        .map(|(name, tokenizer)| {
            let file: Value = serde_json::from_str(&tokenizer.to_string(false).unwrap()).unwrap();
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("tokenizer.json"), file.to_string()).unwrap();
            Pair { name: name.to_owned(), ..Pair::of_folder(dir.path()) }
        })
        .into()
}

fn run(pairs: &[Pair], characters: usize) {
    let mut total = 0;
    for (seed, pair) in pairs.iter().enumerate() {
        assert_eq!(pair.ours.path(), TokenizerPath::Fast, "{}", pair.name);
        let read = pair.compare(characters / pairs.len() + 1, seed as u64);
        let counts = pair.ours.text_counts();
        assert!(counts.fast > counts.reference && counts.failed == 0, "{}: {counts:?}", pair.name);
        println!("{}: {read} characters, 0 differences, {counts:?}", pair.name);
        total += read;
    }
    println!("{total} characters in all");
    assert!(total >= characters);
}

#[test]
fn every_kind_of_file_and_text_is_as_the_reference_has_it() {
    let pairs: Vec<Pair> = made().into_iter().chain(real()).chain(named()).collect();
    run(&pairs, SHORT);
}

#[test]
#[ignore = "takes minutes"]
fn ten_million_characters_are_as_the_reference_has_them() {
    let pairs: Vec<Pair> = made().into_iter().chain(real()).chain(trained()).chain(named()).collect();
    run(&pairs, LONG);
}
