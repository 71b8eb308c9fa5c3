//! Opens a folder without an encoder: tables, and the tokenizers that read texts for them.

use std::{path::Path, sync::Arc};

use super::{Opened, ServedBy, encoder::no_weights};
use crate::{
    error::LoadError,
    folder::{Folder, RouteInput, Routes, TokenizerRules},
    lookup::Lookup,
    options::LoadOptions,
    task::Task,
    tokenize::{Baked, StaticRules, Tokenizer, TokenizerSpec},
};

/// Longest text of a table, in tokens: the libraries have no limit, and a batch must have one. About four megabytes of
/// English.
pub(crate) const STATIC_LONGEST: usize = 1 << 20;

/// Opens the tables of a folder without an encoder.
pub(super) fn open(
    folder: Folder,
    routes: Arc<Routes>,
    lookup: Option<Arc<Lookup>>,
    options: &LoadOptions,
) -> Result<Opened, LoadError> {
    if options.onnx_file.is_some() {
        return Err(LoadError::unsupported(&folder.root, "an export was asked for, and this folder has tables alone"));
    }
    let tables = lookup.as_deref().ok_or_else(|| no_weights(&folder.root))?;
    let main = routes.main();
    let vocab = routes.place(None).and_then(|at| tables.rows(at)).or_else(|| tables.rows(0)).unwrap_or(0);
    let home = match &main.input {
        RouteInput::Static(home) | RouteInput::SparseStatic(home) | RouteInput::Encoder { folder: home, .. } => {
            home.clone()
        }
    };
    let limit = if folder.model2vec { folder.config.model2vec(&home)?.1 } else { None };
    if let Some(asked) = options.max_length.filter(|n| !(1..=STATIC_LONGEST).contains(n)) {
        return Err(LoadError::invalid(&home, format!("max_length {asked} is outside 1..={STATIC_LONGEST}")));
    }
    let tokenizer = if folder.model2vec {
        let max_length = options.max_length.or(limit).unwrap_or(STATIC_LONGEST).min(STATIC_LONGEST);
        let spec = TokenizerSpec {
            max_length,
            model_vocab: vocab,
            rules: &folder.tokenizer,
            special_tokens: false,
            baked: Baked::Nothing,
        };
        let tokenizer = Tokenizer::load_with(&home, &spec)?;
        let rules = StaticRules {
            characters: options.max_length.or(limit).map(|n| n.saturating_mul(tokenizer.median_token_length())),
            unknown: tokenizer.word_rules().unknown,
        };
        tokenizer.with_static_rules(rules)
    } else {
        table_tokenizer(&main.input, &home, &folder.tokenizer, vocab, options.max_length)?
    };
    let max_length = tokenizer.max_length();
    let task = folder.task.clone().unwrap_or(Task::Embedding);
    let dimensions = match (&task, tables.dense()) {
        (Task::Embedding, Some(table)) => {
            main.chain.width(table.width()).map_err(|why| LoadError::invalid(&folder.root.join("modules.json"), why))?
        }
        _ => 0,
    };
    if task == Task::Embedding {
        tables.check_width(dimensions, &folder.root)?;
    }
    Ok(Opened { folder, routes, task, served_by: ServedBy::Lookup, lookup, tokenizer, max_length, vocab, dimensions })
}

/// The tokenizer of a table in `home` with `rows` ids, `asked` tokens long at most.
pub(super) fn table_tokenizer(
    input: &RouteInput,
    home: &Path,
    rules: &TokenizerRules,
    rows: usize,
    asked: Option<usize>,
) -> Result<Tokenizer, LoadError> {
    let (own, baked) = match input {
        // Nobody tells its tokenizer otherwise than its own file does.
        RouteInput::Static(_) => (None, Baked::All),
        RouteInput::SparseStatic(_) | RouteInput::Encoder { .. } => (rules.max_length, Baked::Side),
    };
    let max_length = asked.or(own).unwrap_or(STATIC_LONGEST).min(STATIC_LONGEST);
    let spec = TokenizerSpec { max_length, model_vocab: rows, rules, special_tokens: false, baked };
    Tokenizer::load_with(home, &spec)
}
