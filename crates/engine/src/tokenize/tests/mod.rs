//! Tests of the tokenizer: against the oracles, against the `tokenizers` crate
//! itself on random text, at every limit, and on files that mean harm.

mod limits;
mod load;
mod oracle;
mod places;
mod reference;
mod side;
mod windows;

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::{EncodeOptions, Tokenizer, Truncation};

/// Room enough for every vocabulary made here.
const VOCAB: usize = 2000;

/// A folder with this `tokenizer.json`.
fn folder(file: &Value) -> TempDir {
    folder_of(file.to_string().as_bytes())
}

fn folder_of(bytes: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tokenizer.json"), bytes).unwrap();
    dir
}

pub(super) fn load(file: &Value, max_length: usize) -> Tokenizer {
    Tokenizer::load(folder(file).path(), max_length, VOCAB).unwrap()
}

/// The oracles' folder.
pub(super) fn oracles() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle")
}

/// The real MiniLM.
fn minilm() -> Tokenizer {
    Tokenizer::load(&minilm_folder(), 512, 30_522).unwrap()
}

/// Its folder. It is fetched by the set-up; a test without it fails rather than passing unseen.
pub(super) fn minilm_folder() -> PathBuf {
    let var = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = || var("HOME").expect("HOME is set");
    let user_cache = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    let cache = var("SORTIE_CACHE")
        .unwrap_or_else(|| var("XDG_CACHE_HOME").unwrap_or_else(|| home().join(user_cache)).join("sortie"));
    let folder = cache.join("models/minilm");
    assert!(folder.is_dir(), "{} is missing: run `cargo xtask models` first", folder.display());
    folder
}

fn options(truncation: Truncation, max_length: usize) -> EncodeOptions {
    EncodeOptions { truncation, max_length: Some(max_length), ..EncodeOptions::default() }
}

/// A vocabulary of `specials` and then `rest`, ids in order.
fn vocab(specials: &[&str], rest: impl Iterator<Item = String>) -> serde_json::Map<String, Value> {
    let all = specials.iter().map(|s| (*s).to_owned()).chain(rest);
    all.enumerate().map(|(i, token)| (token, json!(i))).collect()
}

fn added(id: u32, content: &str, lstrip: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": lstrip, "rstrip": false, "normalized": false, "special": true})
}

/// BERT's pieces: `BertNormalizer`, `BertPreTokenizer`, WordPiece, `BertProcessing`.
pub(super) fn bert() -> Value {
    let letters = ('a'..='z').chain('0'..='9').map(String::from);
    let inner = ('a'..='z').chain('0'..='9').map(|c| format!("##{c}"));
    let more = ["the", "##ing", "##er", "漢", "字", ".", ",", "'", "-", "un", "##able"].map(str::to_owned);
    json!({
        "version": "1.0",
        // Baked in by whoever saved the file; the length is to be ignored, and the direction to be obeyed.
        "truncation": {"direction": "Right", "max_length": 5, "strategy": "OnlyFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 64}, "direction": "Left", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [added(0, "[PAD]", false), added(1, "[UNK]", false), added(2, "[CLS]", false), added(3, "[SEP]", false)],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": null,
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": vocab(&["[PAD]", "[UNK]", "[CLS]", "[SEP]"], letters.chain(inner).chain(more)),
        },
    })
}

/// RoBERTa's pieces: byte-level BPE with a few merges, `RobertaProcessing`.
pub(super) fn roberta() -> Value {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("in", "g"), ("Ã", "¼")];
    let merged = merges.iter().map(|(a, b)| format!("{a}{b}"));
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, "<s>", false), added(1, "<pad>", false), added(2, "</s>", false), added(4, "<mask>", true)],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": true, "add_prefix_space": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": false,
            "vocab": vocab(&["<s>", "<pad>", "</s>", "<unk>", "<mask>"], alphabet.iter().map(ToString::to_string).chain(merged)),
            "merges": merges.iter().map(|(a, b)| format!("{a} {b}")).collect::<Vec<_>>(),
        },
    })
}

/// XLM-RoBERTa's pieces: Unigram with Metaspace and a template whose pair has a double separator.
pub(super) fn unigram() -> Value {
    let words = ["▁", "▁the", "the", "▁a", "ing", "ü", "漢", "▁un", "able"].iter().enumerate();
    let words = words.map(|(i, w)| json!([w, -2.0 - i as f64]));
    let letters = ('a'..='z').chain(['.', ',', '\'', 'é']).enumerate().map(|(i, c)| json!([c, -6.0 - i as f64 / 10.0]));
    let specials = ["<s>", "<pad>", "</s>", "<unk>"].iter().map(|s| json!([s, 0.0]));
    let special = |token: &str, id: u32| json!({"id": token, "ids": [id], "tokens": [token]});
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, "<s>", false), added(1, "<pad>", false), added(2, "</s>", false), added(3, "<unk>", false)],
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special_piece("<s>", 0), text_piece("A", 0), special_piece("</s>", 0)],
            "pair": [special_piece("<s>", 0), text_piece("A", 0), special_piece("</s>", 0), special_piece("</s>", 0), text_piece("B", 0), special_piece("</s>", 0)],
            "special_tokens": {"<s>": special("<s>", 0), "</s>": special("</s>", 2)},
        },
        "decoder": null,
        "model": {"type": "Unigram", "unk_id": 3, "vocab": specials.chain(words).chain(letters).collect::<Vec<_>>(), "byte_fallback": false},
    })
}

fn special_piece(id: &str, segment: u32) -> Value {
    json!({"SpecialToken": {"id": id, "type_id": segment}})
}

fn text_piece(id: &str, segment: u32) -> Value {
    json!({"Sequence": {"id": id, "type_id": segment}})
}

/// `file` with this template over `[CLS]` (one id) and `[TWO]` (two ids).
fn with_template(mut file: Value, single: Value, pair: Value) -> Value {
    file["post_processor"] = json!({
        "type": "TemplateProcessing", "single": single, "pair": pair,
        "special_tokens": {
            "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
            "[TWO]": {"id": "[TWO]", "ids": [3, 2], "tokens": ["[SEP]", "[CLS]"]},
        },
    });
    file
}

/// A pair with its texts the wrong way round: no template fits it.
fn reversed() -> Value {
    let single = json!([special_piece("[CLS]", 0), text_piece("A", 0)]);
    let pair = json!([special_piece("[CLS]", 0), text_piece("B", 1), special_piece("[TWO]", 1), text_piece("A", 0)]);
    with_template(bert(), single, pair)
}

/// Every kind of file with whether a template fits it.
fn kinds() -> Vec<(&'static str, Value, bool)> {
    let mut bare = bert();
    bare["post_processor"] = Value::Null;
    let mut chained = roberta();
    chained["post_processor"] = json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        {"type": "TemplateProcessing",
         "single": [special_piece("<s>", 0), text_piece("A", 0), special_piece("</s>", 0)],
         "pair": [special_piece("<s>", 0), text_piece("A", 0), special_piece("</s>", 0), text_piece("B", 1), special_piece("</s>", 1)],
         "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}},
    ]});
    let odd = with_template(
        bert(),
        json!([text_piece("A", 1), special_piece("[TWO]", 0)]),
        json!([special_piece("[TWO]", 1), text_piece("A", 1), special_piece("[CLS]", 0), text_piece("B", 2)]),
    );
    vec![
        ("bert", bert(), true),
        ("roberta", roberta(), true),
        ("unigram", unigram(), true),
        ("no post-processor", bare, true),
        ("sequence", chained, true),
        ("odd template", odd, true),
        ("reversed pair", reversed(), false),
    ]
}

/// Each kind, ours and the reference.
static KINDS: LazyLock<Vec<(&'static str, Tokenizer, tokenizers::Tokenizer)>> = LazyLock::new(|| {
    let reference = |file: &Value| {
        let mut reference = tokenizers::Tokenizer::from_bytes(file.to_string()).unwrap();
        reference.with_padding(None).with_truncation(None).unwrap();
        reference
    };
    kinds().into_iter().map(|(name, file, _)| (name, load(&file, 512), reference(&file))).collect()
});
