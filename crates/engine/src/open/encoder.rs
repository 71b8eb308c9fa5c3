//! Opens an encoder: safetensors of a known family natively, anything else as an ONNX graph.

use std::{path::Path, sync::Arc};

use super::{Opened, ServedBy};
use crate::{
    error::LoadError,
    folder::{
        Folder, LateInteraction, Routes,
        weights::{self, Weights},
    },
    generic::{self, GenericModel},
    lookup::Lookup,
    native::{self, NativeModel},
    options::LoadOptions,
    post::Step,
    task::Task,
    tokenize::{Baked, Tokenizer, TokenizerSpec, special_text},
};

/// Opens the encoder of a folder.
pub(super) fn open(
    mut folder: Folder,
    routes: Arc<Routes>,
    lookup: Option<Arc<Lookup>>,
    options: &LoadOptions,
) -> Result<Opened, LoadError> {
    let encoder = folder.encoder.clone();
    let has_weights = Weights::are_in(&encoder);
    let native = has_weights && native::serves(&folder.config);
    // An export beside weights that are served natively does not matter, whatever it is called.
    let wants_onnx = options.prefer_onnx || options.onnx_file.is_some();
    let merges = folder.adapter.is_some();
    if merges && options.onnx_file.is_some() {
        return Err(LoadError::unsupported(&encoder, "an export was asked for, and an adapter is merged into none"));
    }
    if merges && !native {
        return Err(LoadError::unsupported(
            &encoder,
            "an adapter is merged only into safetensors that are served natively",
        ));
    }
    let onnx =
        if native && (!wants_onnx || merges) { None } else { generic::find(&encoder, options.onnx_file.as_deref())? };
    let (served_by, task, positions, vocab, dimensions, segments) =
        if has_weights && !(wants_onnx && onnx.is_some()) && (native || onnx.is_none()) {
            let task = folder.task.clone().ok_or_else(|| unknown_architecture(&folder))?;
            let m = NativeModel::open(&folder, Arc::clone(&routes), task.clone())?;
            folder.notes.extend_from_slice(m.notes());
            let width = routes.encoder().map_or(Ok(m.hidden()), |route| route.chain.width(m.hidden()));
            let width = width.map_err(|why| LoadError::invalid(&folder.root.join("modules.json"), why))?;
            let (positions, vocab, segments) = (m.longest(), m.vocab(), m.segments());
            (ServedBy::Native(Box::new(m)), task, positions, vocab, width, segments)
        } else if let Some(path) = onnx {
            if folder.chat.is_some() {
                return Err(LoadError::unsupported(&path, "LogitScore is served from safetensors, not from an export"));
            }
            let m = GenericModel::open(&path, &folder, Arc::clone(&routes), folder.task.clone(), options)?;
            let (task, positions, vocab, dimensions) = (m.task().clone(), m.longest(), m.vocab(), m.dimensions());
            // Two is what exports of BERT's kin have; ids beyond would be refused by the graph.
            let segments = folder.config.type_vocab_size.unwrap_or(2);
            (ServedBy::Generic(Box::new(m)), task, positions, vocab, dimensions, segments)
        } else {
            return Err(no_weights(&encoder));
        };
    if let (Some(tables), Task::Embedding | Task::LateInteraction) = (&lookup, &task) {
        tables.check_width(dimensions, &folder.root)?;
    }
    let intended = match &folder.late {
        Some(late) => Some(late_lengths(&folder, late, positions)?),
        None => folder.max_length,
    };
    let max_length = longest_input(&encoder, options, intended, positions)?;
    let spec = TokenizerSpec {
        max_length,
        model_vocab: vocab,
        rules: &folder.tokenizer,
        special_tokens: true,
        baked: Baked::Side,
    };
    let mut tokenizer = Tokenizer::load_with(&folder.tokenizer_home, &spec)?.with_type_vocab(segments);
    if let Some(template) = &folder.chat {
        tokenizer = tokenizer.with_chat(template)?;
        if let Some(prompt) = folder.default_prompt() {
            tokenizer.check_instruction(prompt).map_err(|why| LoadError::unsupported(&template.path, why))?;
        }
    }
    if let Some(tagger) = &folder.tagger {
        tokenizer = tokenizer.with_labels(tagger)?;
    }
    Ok(Opened { folder, routes, task, served_by, lookup, tokenizer, max_length, vocab, dimensions })
}

/// Ids of a skip list, as the model's own tokenizer has them. A word without a token of its own is the unknown token to
/// PyLate, which so gives no vector to whatever is unknown in a document; to sentence-transformers' `MultiVectorMask` such a
/// word is none.
pub(super) fn skip_list(folder: &Folder, routes: &mut Routes) -> Result<(), LoadError> {
    if routes.all().iter().all(|route| route.skiplist.is_empty()) {
        return Ok(());
    }
    let spec = TokenizerSpec {
        max_length: usize::MAX,
        model_vocab: usize::MAX,
        rules: &folder.tokenizer,
        special_tokens: true,
        baked: Baked::Nothing,
    };
    let tokenizer = Tokenizer::load_with(&folder.tokenizer_home, &spec)?;
    let unknown = if folder.late.as_ref().is_some_and(LateInteraction::is_pylate) {
        special_text(&folder.tokenizer, "unk_token").and_then(|token| tokenizer.token_id(token))
    } else {
        None
    };
    for route in routes.all_mut() {
        let mut ids: Vec<u32> = route.skiplist.iter().filter_map(|word| tokenizer.token_id(word).or(unknown)).collect();
        ids.sort_unstable();
        ids.dedup();
        for step in &mut route.chain.steps {
            if let Step::Mask(mask) = step {
                mask.skipped.clone_from(&ids);
            }
        }
    }
    Ok(())
}

/// min(what the files intend, positions); an option may go up to the positions.
fn longest_input(
    folder: &Path,
    options: &LoadOptions,
    intended: Option<usize>,
    positions: usize,
) -> Result<usize, LoadError> {
    match options.max_length {
        Some(n) if n == 0 || n > positions => Err(LoadError::invalid(
            &folder.join("config.json"),
            format!("max_length {n} is asked for, the model has positions for 1 to {positions}"),
        )),
        Some(n) => Ok(n),
        None => Ok(intended.map_or(positions, |n| n.min(positions))),
    }
}

fn unknown_architecture(folder: &Folder) -> LoadError {
    if folder.config.architecture().ends_with("ForCausalLM") {
        return LoadError::unsupported(
            &folder.root,
            "a causal language model scores pairs by the logits of a token or two, and nothing here says which: a LogitScore \
             module of sentence-transformers is missing (modules.json, with true_token_id and false_token_id in its \
             config.json), and with it a chat template that pairs are put into",
        );
    }
    LoadError::unsupported(
        &folder.encoder.join("config.json"),
        format!(
            "architecture {:?} is not served; …Model, …ForSequenceClassification, …ForTokenClassification and …ForMaskedLM are",
            folder.config.architecture()
        ),
    )
}

pub(super) fn no_weights(folder: &Path) -> LoadError {
    if weights::is_pickled(folder) {
        return weights::pickle(folder);
    }
    LoadError::unsupported(
        folder,
        "neither safetensors (model.safetensors, model.safetensors.index.json) nor an ONNX export (model.onnx, onnx/model.onnx) is there",
    )
}

/// The longest text of a late-interaction model: its lengths by role stand in the place of the folder's one, and must go
/// into its positions.
fn late_lengths(folder: &Folder, late: &LateInteraction, positions: usize) -> Result<usize, LoadError> {
    let expansion = late.expansion.as_ref().map(|e| e.length);
    let named =
        [("query_length", late.lengths[0]), ("document_length", late.lengths[1]), ("query_expansion", expansion)];
    for (key, length) in named {
        if let Some(length) = length.filter(|&n| n == 0 || n > positions) {
            let file =
                if late.markers.is_some() { "config_sentence_transformers.json" } else { "sentence_bert_config.json" };
            return Err(LoadError::invalid(
                &folder.encoder.join(file),
                format!("{key} is {length}, the model has positions for 1 to {positions}"),
            ));
        }
    }
    let general = late.lengths.contains(&None).then(|| folder.max_length.unwrap_or(positions));
    Ok(named.into_iter().filter_map(|(_, n)| n).chain(general).max().unwrap_or(positions))
}
