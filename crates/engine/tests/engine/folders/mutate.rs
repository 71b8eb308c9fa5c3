//! What a change of a folder's files may do: it must be refused, or be seen in the answers, or be told by `inspect`, or be
//! of a key that is known to change nothing. The fuzz target `folder_keys` takes this file in too.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sortie_engine::{
    EmbedSpec, EncodeOptions, Executor, LoadOptions, Model, Output, Role, Task, Want, WorkItem, inspect,
};

/// Layouts whose positions count from zero.
const COUNT_FROM_ZERO: &[&str] = &[
    "compact-lasttoken",
    "residual",
    "lower",
    "pylate",
    "bert-mve-expand",
    "splade-sum",
    "router",
    "bert-ce-modular",
    "ce-dense",
    "regression",
    "distilbert-tokens5",
    "electra-rerank",
];

/// Keys that change no number that is served, of which layouts (none: of all), and why. `tokenizer.json` is left out: the
/// library that defines it reads it.
const WITHOUT_EFFECT: &[(&[&str], &[&str], &str)] = &[
    (&["dropout", "attention_dropout", "attention_probs_dropout_prob", "hidden_dropout_prob"], &[], "training alone"),
    (&["classifier_dropout", "qa_dropout", "seq_classif_dropout", "summary_last_dropout"], &[], "training alone"),
    (&["initializer_range", "frozen", "sinusoidal_pos_embds"], &[], "how weights begin, and whether they are trained"),
    (&["use_cache", "tie_word_embeddings"], &[], "generation, and how weights are stored"),
    (&["dtype", "transformers_version"], &[], "how it was saved"),
    (&["bos_token_id", "cls_token_id", "eos_token_id", "sep_token_id"], &[], "the tokenizer's are used"),
    (&["summary_activation", "summary_type", "summary_use_proj"], &[], "heads that ELECTRA's classifier is not"),
    (&["label2id"], &[], "id2label names the labels"),
    (&["embedding_dimension", "word_embedding_dimension"], &[], "the width is that of what comes in"),
    (&["idx", "name"], &[], "modules go by their order and path"),
    (&["clean_up_tokenization_spaces"], &[], "decoding alone"),
    (
        &["mask_token", "pad_token", "unk_token", "cls_token", "sep_token"],
        &[],
        "those of tokenizer.json are used beside them",
    ),
    (&["model_input_names"], &[], "names of inputs; `token_type_ids` among them is obeyed"),
    (&["pad_token_id"], COUNT_FROM_ZERO, "the tokenizer's is used; RoBERTa's positions alone count from it"),
    (&["max_seq_length", "model_max_length"], &["pylate"], "a late-interaction model has lengths of its own"),
    (&["pooling_mode_mean_tokens"], &["residual", "lower"], "no pooling at all is the mean, too"),
];

/// Whether a change of the value at this path of a layout's file is known to change nothing.
pub(crate) fn has_no_effect(layout: &str, path: &str) -> bool {
    let of = |layouts: &[&str]| layouts.is_empty() || layouts.contains(&layout);
    let mut keys = path.split('/').filter(|key| key.parse::<usize>().is_err());
    keys.any(|key| WITHOUT_EFFECT.iter().any(|(known, layouts, _)| of(layouts) && known.contains(&key)))
}

/// Levels of a file that are changed: below there are lists of words.
pub(crate) const DEPTH: usize = 5;

/// All that a folder answers, as text that can be compared; or that it is refused.
pub(crate) fn answers(folder: &Path) -> Result<Vec<String>, String> {
    let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
    let model = Model::open(folder, &options).map_err(|error| error.to_string())?;
    let mut told = serde_json::to_value(inspect(folder, &options).map_err(|error| error.to_string())?).unwrap();
    told.as_object_mut().unwrap().remove("revision");
    let mut all = vec![told.to_string(), format!("{:?}", model.info().task.labels())];
    let want = match model.info().task {
        Task::SequenceClassification { .. } => Want::Logits,
        Task::TokenClassification { .. } => Want::TokenLogits,
        Task::SparseEmbedding => Want::Sparse,
        Task::LateInteraction => Want::TokenEmbeddings,
        _ => Want::Embedding(EmbedSpec::default()),
    };
    let mut executor = Executor::new(&model).map_err(|error| error.to_string())?;
    let long = (0..700).map(|i| format!("w{}", 20 + i % 60)).collect::<Vec<_>>().join(" ");
    let texts = ["w20 w21 w22 w23", "W20 [SEP] w5, [MASK] w6\u{301} \u{4e00}w7  é", "  a", &long];
    for role in [None, Some(Role::Query), Some(Role::Document)] {
        let fit = EncodeOptions { role, ..EncodeOptions::default() };
        for text in texts {
            let prompt = model.info().prompt_of(role).unwrap_or_default().to_owned();
            let sequence = match model.tokenizer().encode_after(&prompt, text, &fit) {
                Ok(sequence) => sequence,
                Err(error) => {
                    all.push(error.to_string());
                    continue;
                }
            };
            all.push(format!("{:?}", sequence.ids));
            all.push(match executor.run(&[&WorkItem { sequence, want }]).remove(0) {
                Ok(output) => text_of(&output),
                Err(fault) => fault.to_string(),
            });
        }
        let pair = model.tokenizer().encode_pair("w20 w21", &long, &fit);
        all.push(format!("{:?}", pair.map(|sequence| (sequence.ids, sequence.type_ids)).map_err(|e| e.to_string())));
    }
    Ok(all)
}

fn text_of(output: &Output) -> String {
    let round = |values: &[f32]| values.iter().map(|v| format!("{v:.5}")).collect::<Vec<_>>().join(" ");
    match output {
        Output::Logits(v) | Output::TokenLogits(v) | Output::Embedding(v) => round(v),
        Output::TokenEmbeddings(v) => format!("{:?} {}", v.tokens, round(&v.values)),
        Output::Sparse(v) => v.iter().map(|(id, w)| format!("{id}:{w:.5}")).collect::<Vec<_>>().join(" "),
        Output::SpanScores(v) => round(&v.values),
    }
}

/// Paths of all values below the top.
pub(crate) fn paths(value: &Value, at: &str, depth: usize, out: &mut Vec<String>) {
    if !at.is_empty() {
        out.push(at.to_owned());
    }
    match value {
        Value::Object(map) if depth > 0 && map.len() < 60 => {
            for (key, value) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                paths(value, &format!("{at}/{key}"), depth - 1, out);
            }
        }
        Value::Array(list) if depth > 0 && list.len() < 20 => {
            for (i, value) in list.iter().enumerate() {
                paths(value, &format!("{at}/{i}"), depth - 1, out);
            }
        }
        _ => {}
    }
}

/// `whole` with another value at `path`.
pub(crate) fn changed(whole: &Value, path: &str, with: Value) -> Value {
    let mut whole = whole.clone();
    *whole.pointer_mut(path).unwrap() = with;
    whole
}

/// JSON files of a folder but the tokenizer's and the recorded answers, below `at`.
pub(crate) fn json_files(folder: &Path, at: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder.join(at)).unwrap() {
        let name = at.join(entry.unwrap().file_name());
        if folder.join(&name).is_dir() {
            json_files(folder, &name, out);
        } else if name.extension().is_some_and(|e| e == "json") {
            let file = name.file_name().unwrap().to_string_lossy().into_owned();
            if !file.starts_with("expected") && file != "tokenizer.json" {
                out.push(name);
            }
        }
    }
}
