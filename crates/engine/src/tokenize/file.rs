//! Reads `tokenizer.json` and makes sure that it can serve its model: ids the
//! model has rows for, room for more than specials, and assembled sequences
//! equal to the reference on sample texts. No file makes it panic.

use std::{fs, path::Path, sync::Arc};

use serde_json::{Value, json};
use tokenizers::{TruncationDirection, models::ModelWrapper};

use super::{
    DEFAULT_TYPE_VOCAB, EncodeOptions, Tokenizer, TruncationSide,
    fast::Fast,
    law,
    piece::contained,
    template::{self, Template},
};
use crate::{
    entities::WordRules,
    error::{InputError, LoadError},
    folder::TokenizerRules,
    item::Sequence,
};

/// File of a model folder that holds the tokenizer.
const FILE: &str = "tokenizer.json";

/// Vocabularies of tokenizers without a tokenizer.json. The first is read where its class is BERT's, the others are refused
/// with the command that makes the file.
pub const VOCABULARIES: [&str; 8] = [
    WORD_LIST,
    "spm.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "tokenizer.model",
    "vocab.json",
    "tekken.json",
];

/// One token a line.
const WORD_LIST: &str = "vocab.txt";

/// Tokens that were added to such a list.
const ADDED: &str = "added_tokens.json";

/// Largest file read. The largest vocabularies in use, 256 k entries with merges, take about 35 MB.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// Tokens that fill padded places where the file has no padding section.
const PAD_TOKENS: [&str; 2] = ["[PAD]", "<pad>"];

/// Texts the self-check compares: nothing, whitespace, plain words, accents, scripts, emoji, controls, a long word.
const SAMPLES: [&str; 8] = [
    "",
    "  \t\n ",
    "how to split a string by a delimiter",
    "Don't re-use FooBar_2.0 (v1.31.1), it's \"gone\"!",
    "Größe und Übermaß: naïve cafés, e\u{301}te\u{301}",
    "漢字とカタカナ, русский, العربية, ไทย, 한국어",
    "🙂👩‍👩‍👧 \u{0}\u{7f}\u{200b}\u{fffd}\u{301}",
    "pneumonoultramicroscopicsilicovolcanoconiosispneumonoultramicroscopicsilicovolcanoconiosispneumonoultramicro",
];

impl Tokenizer {
    /// Reads `folder/tokenizer.json`, for sequences of at most `max_length` tokens and a model with `model_vocab` rows
    /// in its embedding table. Padding and truncation baked into the file are dropped.
    ///
    /// # Errors
    /// A [`LoadError`] that names the file: it cannot be read, is no tokenizer, can make ids the model has no row for,
    /// or adds more special tokens than `max_length` holds.
    pub fn load(folder: &Path, max_length: usize, model_vocab: usize) -> Result<Self, LoadError> {
        let rules = TokenizerRules::default();
        let spec = TokenizerSpec { max_length, model_vocab, rules: &rules, special_tokens: true, baked: Baked::Side };
        Self::load_with(folder, &spec)
    }

    /// [`load`](Self::load), with what other files of the folder say of it.
    pub(crate) fn load_with(folder: &Path, spec: &TokenizerSpec<'_>) -> Result<Self, LoadError> {
        let &TokenizerSpec { mut max_length, model_vocab, rules, special_tokens, baked } = spec;
        let path = folder.join(FILE);
        let path = path.as_path();
        let invalid = |e: InputError| LoadError::invalid(path, e.to_string());
        let (mut inner, bytes) = read(path, rules, special_tokens)?;

        let mut side = if rules.cut_left { TruncationSide::Left } else { TruncationSide::Right };
        if let Some(own) = inner.get_truncation().filter(|_| baked != Baked::Nothing) {
            if !rules.side_is_said && own.direction == TruncationDirection::Left {
                side = TruncationSide::Left;
            }
            if baked == Baked::All {
                max_length = max_length.min(own.max_length);
            }
        }
        let baked_pad = inner.get_padding().map(|padding| padding.pad_id);
        let pad_id = baked_pad.or_else(|| PAD_TOKENS.iter().find_map(|token| inner.token_to_id(token)));
        contained(|| {
            inner.with_padding(None);
            inner.with_truncation(None).map(|_| ())
        })
        .map_err(invalid)?;
        // Dropout is for training: it would make two answers out of one text.
        if let ModelWrapper::BPE(model) = inner.get_model()
            && model.dropout.is_some()
        {
            let mut model = model.clone();
            model.dropout = None;
            inner.with_model(model);
        }

        let highest = contained(|| highest_id(&inner)).map_err(invalid)?.max(baked_pad);
        if let Some(highest) = highest.filter(|&id| id as usize >= model_vocab) {
            return Err(LoadError::invalid(
                path,
                format!(
                    "its vocabulary of {} entries has ids up to {highest}, but the model's embedding table has {model_vocab} rows",
                    inner.get_vocab_size(true)
                ),
            ));
        }

        let template = match contained(|| Template::derive(&inner)) {
            Ok(template) => Some(template),
            Err(why) => {
                tracing::warn!(file = %path.display(), %why, "no template: special tokens are placed by the post-processor each time");
                None
            }
        };
        let fast = contained(|| Fast::load(&bytes, &inner).map_err(Into::into)).map_err(|e| Arc::from(e.to_string()));
        if let Err(why) = &fast {
            tracing::warn!(file = %path.display(), %why, "no fast path: the reference tokenizer does every text");
        }
        let words = word_rules(&inner, &bytes);
        let inner = Arc::new(inner);
        let mut this = Tokenizer {
            inner,
            fast,
            template,
            max_length,
            model_vocab,
            type_vocab: DEFAULT_TYPE_VOCAB,
            pad_id,
            side,
            counted: Arc::default(),
            plain: Arc::default(),
            readings: None,
            static_rules: None,
            words,
            one_segment: false,
            #[cfg(feature = "timed")]
            counting: false,
        };
        let specials = this.specials(true).max(this.specials(false));
        if max_length <= specials {
            return Err(LoadError::invalid(
                path,
                format!("it adds {specials} special tokens, but the longest sequence is {max_length} tokens"),
            ));
        }
        if this.template.is_some() && !this.agrees() {
            tracing::warn!(file = %path.display(), "the template disagrees with the post-processor, which is run each time instead");
            this.template = None;
        }
        if this.template.is_none() && !this.agrees() {
            return Err(LoadError::unsupported(path, "its steps one by one do not give what it encodes as a whole"));
        }
        this.one_segment = rules.one_segment;
        tracing::info!(
            file = %path.display(), vocab = this.vocab_size(), max_length, template = this.template_is_derived(), fast = this.fast.is_ok(), "tokenizer loaded"
        );
        Ok(this)
    }

    /// The tokenizer of a timed model, which counts bytes; it adds no specials.
    #[cfg(feature = "timed")]
    pub(crate) fn counting(path: &Path, max_length: usize) -> Result<Self, LoadError> {
        let model = tokenizers::models::wordlevel::WordLevel::builder().build();
        let made =
            model.map(tokenizers::Tokenizer::new).and_then(|t| Template::derive(&t).map(|template| (t, template)));
        let (inner, template) = made.map_err(|error| LoadError::invalid(path, error.to_string()))?;
        Ok(Tokenizer {
            inner: Arc::new(inner),
            fast: Err("its tokens are counted, not made".into()),
            template: Some(template),
            max_length,
            model_vocab: usize::MAX,
            type_vocab: DEFAULT_TYPE_VOCAB,
            pad_id: None,
            side: TruncationSide::Right,
            counted: Arc::default(),
            plain: Arc::default(),
            readings: None,
            static_rules: None,
            words: WordRules::default(),
            one_segment: false,
            counting: true,
        })
    }

    /// Whether sample texts, alone and in pairs, come out as the reference has them.
    fn agrees(&self) -> bool {
        let singles = SAMPLES.iter().all(|&text| {
            let truth = contained(|| self.inner.encode(text, true));
            same(self.unlimited().encode(text, &EncodeOptions::default()), truth)
        });
        let pairs = SAMPLES.iter().zip(SAMPLES.iter().cycle().skip(2)).all(|(&a, &b)| {
            let truth = contained(|| self.inner.encode((a, b), true));
            same(self.unlimited().encode_pair(a, b, &EncodeOptions::default()), truth)
        });
        singles && pairs
    }

    /// Itself with room for any sample.
    fn unlimited(&self) -> Self {
        Tokenizer { max_length: usize::MAX, side: TruncationSide::Right, counted: Arc::default(), ..self.clone() }
    }
}

/// Whether both failed, or both made the same ids and type ids.
fn same(ours: Result<Sequence, InputError>, truth: Result<tokenizers::Encoding, InputError>) -> bool {
    match (ours, truth) {
        (Ok(ours), Ok(truth)) => {
            let type_ids = (0..ours.len()).map(|i| ours.type_id(i));
            ours.ids == truth.get_ids() && type_ids.eq(truth.get_type_ids().iter().copied())
        }
        (Err(_), Err(_)) => true,
        _ => false,
    }
}

/// What a tokenizer is loaded with besides its own file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenizerSpec<'a> {
    /// Longest sequence in tokens, specials included.
    pub(crate) max_length: usize,
    /// Rows of the model's table.
    pub(crate) model_vocab: usize,
    /// What tokenizer_config.json and others say.
    pub(crate) rules: &'a TokenizerRules,
    /// Whether it adds special tokens.
    pub(crate) special_tokens: bool,
    /// What counts of a truncation in its own file.
    pub(crate) baked: Baked,
}

/// What counts of the truncation that a tokenizer.json has baked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Baked {
    /// Its side, where no other file says one: its length is replaced.
    Side,
    /// Its length too.
    All,
    /// Nothing.
    Nothing,
}

/// What tells the pieces of a word.
fn word_rules(tokenizer: &tokenizers::Tokenizer, bytes: &[u8]) -> WordRules {
    #[derive(serde::Deserialize)]
    struct File {
        model: Model,
    }
    #[derive(serde::Deserialize)]
    struct Model {
        #[serde(default)]
        unk_id: Option<u32>,
    }
    let (marks_pieces, token) = match tokenizer.get_model() {
        ModelWrapper::WordPiece(model) => (!model.continuing_subword_prefix.is_empty(), Some(model.unk_token.clone())),
        ModelWrapper::WordLevel(model) => (false, Some(model.unk_token.clone())),
        ModelWrapper::BPE(model) => {
            (model.continuing_subword_prefix.as_ref().is_some_and(|p| !p.is_empty()), model.unk_token.clone())
        }
        // Its unknown id is no field that is open, but it is written.
        ModelWrapper::Unigram(_) => {
            let unknown = serde_json::from_slice::<File>(bytes).ok().and_then(|file| file.model.unk_id);
            return WordRules { marks_pieces: false, unknown };
        }
    };
    WordRules { marks_pieces, unknown: token.and_then(|token| tokenizer.token_to_id(&token)) }
}

/// What the rules change in the file: the steps of its class, its normalizer, and whether it adds special tokens.
fn ruled(bytes: Vec<u8>, rules: &TokenizerRules, special_tokens: bool) -> Result<Vec<u8>, String> {
    if special_tokens && *rules == (TokenizerRules { max_length: rules.max_length, ..TokenizerRules::default() }) {
        return Ok(bytes);
    }
    let mut file: Value = serde_json::from_slice(&bytes).map_err(|e| format!("not a tokenizer: {e}"))?;
    // Anything else is told by whoever reads it next.
    if !file["model"].is_object() {
        return Ok(bytes);
    }
    let before = without_vocabulary(&file);
    law::apply(&mut file, rules)?;
    if !special_tokens {
        file["post_processor"] = Value::Null;
    }
    if rules.lowercase && !lowers(&file["normalizer"]) {
        let before = json!({"type": "Lowercase"});
        let normalizers = match file["normalizer"].take() {
            Value::Null => vec![before],
            mut sequence if sequence["type"] == "Sequence" => {
                let mut all = vec![before];
                all.extend(sequence["normalizers"].as_array_mut().map(std::mem::take).unwrap_or_default());
                all
            }
            one => vec![before, one],
        };
        file["normalizer"] = json!({"type": "Sequence", "normalizers": normalizers});
    }
    if without_vocabulary(&file) == before { Ok(bytes) } else { serde_json::to_vec(&file).map_err(|e| e.to_string()) }
}

/// All of a file but its large parts, which no rule changes.
fn without_vocabulary(file: &Value) -> Value {
    let parts = |value: &Value, but: &[&str]| -> serde_json::Map<String, Value> {
        let all = value.as_object().into_iter().flatten();
        all.filter(|(key, _)| !but.contains(&key.as_str())).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let mut all = parts(file, &["model"]);
    all.insert("model".to_owned(), Value::Object(parts(&file["model"], &["vocab", "merges"])));
    Value::Object(all)
}

/// Whether a normalizer has a step that lower-cases, as the library looks for one.
fn lowers(normalizer: &Value) -> bool {
    let is = |part: &Value| part["type"] == "Lowercase";
    is(normalizer) || normalizer["normalizers"].as_array().is_some_and(|parts| parts.iter().any(is))
}

/// Reads and parses the file; its bytes are for the fast path to read too.
fn read(
    path: &Path,
    rules: &TokenizerRules,
    special_tokens: bool,
) -> Result<(tokenizers::Tokenizer, Vec<u8>), LoadError> {
    let bytes = match other_file(path, rules)? {
        Some(made) => made,
        None => whole(path)?,
    };
    let bytes = ruled(bytes, rules, special_tokens).map_err(|e| LoadError::invalid(path, e))?;
    let tokenizer = contained(|| tokenizers::Tokenizer::from_bytes(&bytes)).map_err(|e| match e {
        InputError::Tokenizer(message) => LoadError::invalid(path, format!("not a tokenizer: {message}")),
        other => LoadError::invalid(path, other.to_string()),
    })?;
    Ok((tokenizer, bytes))
}

/// All bytes of a file of a sane size.
fn whole(path: &Path) -> Result<Vec<u8>, LoadError> {
    let size = fs::metadata(path).map_err(LoadError::io(path))?.len();
    if size > MAX_FILE_BYTES {
        return Err(LoadError::invalid(path, format!("{size} bytes; at most {MAX_FILE_BYTES} are read")));
    }
    fs::read(path).map_err(LoadError::io(path))
}

/// What stands for a `tokenizer.json` that is not there: one made of a `vocab.txt`; `None` where it is there, or nothing is.
fn other_file(path: &Path, rules: &TokenizerRules) -> Result<Option<Vec<u8>>, LoadError> {
    let folder = path.parent().unwrap_or(path);
    if path.exists() {
        return Ok(None);
    }
    let Some(name) = VOCABULARIES.into_iter().find(|name| folder.join(name).is_file()) else { return Ok(None) };
    let there = folder.join(name);
    let made = if name == WORD_LIST && !folder.join(ADDED).is_file() {
        let text = String::from_utf8(whole(&there)?)
            .map_err(|_| LoadError::invalid(&there, "a list of words in UTF-8 is wanted"))?;
        law::of_word_list(&text, rules)
    } else {
        None
    };
    match made {
        Some(file) => Ok(serde_json::to_vec(&file).ok()),
        None => {
            let at = folder.display();
            Err(LoadError::unsupported(
                &there,
                format!(
                    "the vocabulary is here without a {FILE}; make it once: python -c \"from transformers import AutoTokenizer; \
                     AutoTokenizer.from_pretrained('{at}').save_pretrained('{at}')\""
                ),
            ))
        }
    }
}

/// Largest id the tokenizer can make: of its vocabulary, its added tokens or its post-processor.
fn highest_id(tokenizer: &tokenizers::Tokenizer) -> tokenizers::Result<Option<u32>> {
    let vocab = tokenizer.get_vocab(true).into_values().max();
    let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder().keys().copied().max();
    Ok(vocab.max(added).max(template::highest_special(tokenizer)?))
}
