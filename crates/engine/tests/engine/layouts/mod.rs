//! Every row of docs/models.md: a folder of that layout, and what becomes of it.

mod family_rows;
mod inspections;
mod rows;

use std::path::{Path, PathBuf};

use sortie_engine::{
    EmbedSpec, EncodeOptions, Executor, Inspection, LoadOptions, Model, Output, Role, Task, Want, WorkItem, inspect,
};

use crate::support::{archived, assemble, copy_of, options, oracle};

use family_rows::FAMILY_ROWS;
use rows::{
    Outcome::{Refused, Served},
    ROWS, Row,
};

/// All rows, in the order of the document.
fn rows() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().chain(FAMILY_ROWS)
}

/// The folder of a row.
fn folder(row: &Row) -> tempfile::TempDir {
    let to = match row.from.split_once('/') {
        Some(("tiny", name)) => copy_of(&oracle(name)),
        Some((archive, name)) => copy_of(&archived(archive).join(name)),
        None if row.from == "onnx" => export(),
        None => assemble(row.from),
    };
    for (file, text) in row.files {
        let path = to.path().join(file);
        match (*text, text.strip_prefix('+')) {
            ("-", _) => std::fs::remove_file(&path).unwrap(),
            // One key more, which wins over one that is there.
            (_, Some(key)) => {
                let there: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
                let more: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(&format!("{{{key}}}")).unwrap();
                let all: serde_json::Map<String, serde_json::Value> = there.into_iter().chain(more).collect();
                std::fs::write(&path, serde_json::to_string(&all).unwrap()).unwrap();
            }
            _ => {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, text).unwrap();
            }
        }
    }
    to
}

/// An export of a tagger without anything of transformers' but a configuration.
fn export() -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let graph = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/tags.onnx");
    std::fs::copy(graph, to.path().join("model.onnx")).unwrap();
    let config =
        r#"{"model_type": "bert", "architectures": ["BertForTokenClassification"], "vocab_size": 10, "num_labels": 3}"#;
    std::fs::write(to.path().join("config.json"), config).unwrap();
    let tokenizer = r#"{"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}, "model": {"type": "WordLevel", "vocab": {"[UNK]": 1}, "unk_token": "[UNK]"}}"#;
    std::fs::write(to.path().join("tokenizer.json"), tokenizer).unwrap();
    to
}

fn look(folder: &Path) -> Result<Inspection, String> {
    inspect(folder, &LoadOptions::default()).map_err(|e| e.to_string())
}

#[test]
fn every_layout_is_served_or_refused_as_the_table_says() {
    for row in rows() {
        let folder = folder(row);
        match (look(folder.path()), &row.outcome) {
            (Ok(seen), Served(engine, task)) => {
                assert_eq!((seen.engine, seen.task), (*engine, *task), "{}", row.layout);
            }
            (Err(error), Refused(words)) => {
                for word in *words {
                    assert!(error.contains(word), "{}: {word} is not in {error}", row.layout);
                }
            }
            (Ok(seen), Refused(_)) => panic!("{} is served: {seen:?}", row.layout),
            (Err(error), Served(..)) => panic!("{} is refused: {error}", row.layout),
        }
    }
}

/// One text through a model, as what it was made for.
fn first_answer(folder: &Path) -> Result<Output, String> {
    let model = Model::open(folder, &options()).map_err(|e| e.to_string())?;
    let fit = EncodeOptions { role: Some(Role::Document), ..EncodeOptions::default() };
    let tokenizer = model.tokenizer();
    let sequence = if tokenizer.reads_chat() {
        tokenizer.encode_pair("w20", "w21 w22", &fit)
    } else if tokenizer.reads_labels() {
        let labels = tokenizer.label_prompt(&["person".to_owned()]).map_err(|e| e.to_string())?;
        tokenizer.encode_labelled(&labels, "w20 w21 w22", &fit)
    } else {
        tokenizer.encode("w20 w21 w22", &fit)
    };
    let sequence = sequence.map_err(|e| e.to_string())?;
    let want = match model.info().task {
        Task::SequenceClassification { .. } => Want::Logits,
        Task::TokenClassification { .. } => Want::TokenLogits,
        Task::Embedding => Want::Embedding(EmbedSpec::default()),
        Task::SparseEmbedding => Want::Sparse,
        Task::ZeroShotTagging { .. } => Want::SpanScores,
        _ => Want::TokenEmbeddings,
    };
    let mut executor = Executor::new(&model).map_err(|e| e.to_string())?;
    executor.run(&[&WorkItem { sequence, want }]).remove(0).map_err(|e| e.to_string())
}

#[test]
fn what_is_served_answers() {
    for row in rows().filter(|row| matches!(row.outcome, Served(..))) {
        first_answer(folder(row).path()).unwrap_or_else(|e| panic!("{}: {e}", row.layout));
    }
}

#[test]
fn the_table_of_the_docs_has_these_rows_and_no_others() {
    let text = include_str!("../../../../../docs/models.md");
    let mut written: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let [layout, served, ..] = cells[..]
            && !["layout", "---"].contains(&layout)
        {
            written.push((layout.to_owned(), served.to_owned()));
        }
    }
    let meant: Vec<(String, String)> = rows()
        .map(|row| {
            let served = match row.outcome {
                Served("onnx", task) => format!("by ONNX: {task}"),
                Served(engine, task) => format!("{engine}: {task}"),
                Refused(_) => "refused".to_owned(),
            };
            (row.layout.to_owned(), served)
        })
        .collect();
    assert_eq!(written, meant);
}

#[cfg(unix)]
#[test]
fn what_lies_about_in_a_folder_does_not_matter() {
    let folder = assemble("variants");
    std::os::unix::fs::symlink("gone", folder.path().join("quantize_config.json")).unwrap();
    std::os::unix::fs::symlink("gone.onnx", folder.path().join("onnx/model_O4.onnx")).unwrap();
    std::fs::create_dir(folder.path().join("lost+found")).unwrap();
    let seen = look(folder.path()).unwrap();
    assert_eq!((seen.engine, seen.task), ("native", "rerank"));
}
