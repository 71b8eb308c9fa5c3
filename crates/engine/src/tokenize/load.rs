//! Loads a tokenizer and makes sure that it can serve its model: ids the model has rows for, room for more than specials,
//! and assembled sequences equal to the reference on sample texts. No file makes it panic.

use std::{path::Path, sync::Arc};

use tokenizers::{TruncationDirection, models::ModelWrapper};

use super::{
    DEFAULT_TYPE_VOCAB, Tokenizer, TruncationSide,
    fast::Fast,
    file::{self, FILE},
    piece::contained,
    template::{self, Template},
};
use crate::{
    entities::WordRules,
    error::{InputError, LoadError},
    folder::TokenizerRules,
};

/// Tokens that fill padded places where the file has no padding section.
const PAD_TOKENS: [&str; 2] = ["[PAD]", "<pad>"];

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
        let (mut inner, bytes) = file::read(path, rules, special_tokens)?;

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
            chat: None,
            labelled: None,
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
            chat: None,
            labelled: None,
            counting: true,
        })
    }
}

/// What tells the pieces of a word.
fn word_rules(tokenizer: &tokenizers::Tokenizer, bytes: &[u8]) -> WordRules {
    #[derive(serde::Deserialize)]
    struct UnigramFile {
        model: UnigramModel,
    }
    #[derive(serde::Deserialize)]
    struct UnigramModel {
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
            let unknown = serde_json::from_slice::<UnigramFile>(bytes).ok().and_then(|file| file.model.unk_id);
            return WordRules { marks_pieces: false, unknown };
        }
    };
    WordRules { marks_pieces, unknown: token.and_then(|token| tokenizer.token_to_id(&token)) }
}

/// Largest id the tokenizer can make: of its vocabulary, its added tokens or its post-processor.
fn highest_id(tokenizer: &tokenizers::Tokenizer) -> tokenizers::Result<Option<u32>> {
    let vocab = tokenizer.get_vocab(true).into_values().max();
    let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder().keys().copied().max();
    Ok(vocab.max(added).max(template::highest_special(tokenizer)?))
}

/// Id of the token that stands for what the vocabulary does not have, where a model has one.
pub(super) fn unknown_token(tokenizer: &tokenizers::Tokenizer) -> Option<u32> {
    let token = match tokenizer.get_model() {
        ModelWrapper::WordPiece(model) => Some(model.unk_token.clone()),
        ModelWrapper::WordLevel(model) => Some(model.unk_token.clone()),
        ModelWrapper::BPE(model) => model.unk_token.clone(),
        // A field that is not open: of these files nearly all call it so.
        ModelWrapper::Unigram(_) => Some("<unk>".to_owned()),
    };
    token.and_then(|token| tokenizer.token_to_id(&token))
}
