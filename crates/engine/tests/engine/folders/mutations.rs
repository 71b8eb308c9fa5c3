//! Every key of every file of a folder is changed, one at a time: nothing is passed over in silence.

use std::path::Path;

use serde_json::{Value, json};

use super::mutate::{DEPTH, answers, changed, has_no_effect, json_files, paths};
use crate::support::assemble;

/// What may be written in the place of a value.
fn instead(at: &str, value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(b) => vec![json!(!b)],
        Value::Number(n) => {
            let whole = n.as_i64().map(|n| json!(n * 2 + 1));
            [Some(json!(n.as_f64().unwrap() * 2.0 + 1.0)), whole].into_iter().flatten().collect()
        }
        // A class that nobody knows is read like the general one; this one builds its own pipeline.
        Value::String(_) if at.ends_with("tokenizer_class") => vec![json!("BertTokenizer")],
        Value::String(_) => vec![json!("no such thing")],
        Value::Null => vec![json!(true), json!(3), json!("no such thing")],
        Value::Array(_) => vec![json!([])],
        Value::Object(_) => vec![json!({})],
    }
}

/// What of the folder's files may be changed without a word.
fn silent(layout: &str, folder: &Path) -> Vec<String> {
    let before = answers(folder).unwrap();
    let mut files = Vec::new();
    json_files(folder, Path::new(""), &mut files);
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let path = folder.join(&file);
        let text = std::fs::read_to_string(&path).unwrap();
        let Ok(whole) = serde_json::from_str::<Value>(&text) else { continue };
        let mut all = Vec::new();
        paths(&whole, "", DEPTH, &mut all);
        for at in all {
            let value = whole.pointer(&at).unwrap();
            let name = file.to_string_lossy().into_owned();
            if has_no_effect(layout, &at) {
                continue;
            }
            for with in instead(&at, value) {
                if with == *value {
                    continue;
                }
                std::fs::write(&path, changed(&whole, &at, with.clone()).to_string()).unwrap();
                if answers(folder).is_ok_and(|after| after == before) {
                    found.push(format!("{name}{at}: {value} → {with}"));
                }
            }
        }
        std::fs::write(&path, text).unwrap();
    }
    found
}

fn nothing_is_silent(names: &[&str]) {
    let mut found = Vec::new();
    for name in names {
        found.extend(silent(name, assemble(name).path()).iter().map(|change| format!("{name}: {change}")));
    }
    assert!(found.is_empty(), "changed without a word: {found:#?}");
}

#[test]
fn embedders() {
    nothing_is_silent(&["compact-lasttoken", "residual", "lower", "static-st", "roberta-base"]);
}

#[test]
fn late_interaction_sparse_and_routed_models() {
    nothing_is_silent(&["pylate", "bert-mve-expand", "splade-sum", "router"]);
}

#[test]
fn cross_encoders_and_taggers() {
    let all =
        ["bert-ce-modular", "ce-dense", "regression", "distilbert-tokens5", "electra-rerank", "xlm-roberta-rerank"];
    nothing_is_silent(&all);
}
