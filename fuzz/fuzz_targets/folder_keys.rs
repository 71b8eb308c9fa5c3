//! A published layout of which one value is changed: opening it refuses, or the change is seen in the answers,
//! or `inspect` tells it, or its key is known to change nothing. No change passes in silence.
//!
//! Bytes: the layout, the file, the value in it, what is put in its place.
#![no_main]

use std::{
    cell::LazyCell,
    fs,
    path::{Path, PathBuf},
};

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "../../crates/engine/tests/engine/assemble.rs"]
mod assemble;
#[path = "../../crates/engine/tests/engine/folders/mutate.rs"]
mod mutate;

use mutate::{DEPTH, answers, changed, has_no_effect, json_files, paths};

const LAYOUTS: [&str; 12] = [
    "compact-lasttoken",
    "residual",
    "lower",
    "static-st",
    "roberta-base",
    "pylate",
    "bert-mve-expand",
    "splade-sum",
    "router",
    "bert-ce-modular",
    "regression",
    "distilbert-tokens5",
];

/// A layout as it is, and what it answers.
struct Layout {
    folder: TempDir,
    /// Each JSON file, its text, and the paths of its values.
    files: Vec<(PathBuf, String, Value, Vec<String>)>,
    answers: Vec<String>,
}

impl Layout {
    fn read(name: &str) -> Self {
        let folder = assemble::assemble(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/oracle"), name);
        let mut names = Vec::new();
        json_files(folder.path(), Path::new(""), &mut names);
        names.sort();
        let read = |file: PathBuf| {
            let text = fs::read_to_string(folder.path().join(&file)).expect("it was listed");
            let whole: Value = serde_json::from_str(&text).ok()?;
            let mut all = Vec::new();
            paths(&whole, "", DEPTH, &mut all);
            all.retain(|at| !has_no_effect(name, at));
            (!all.is_empty()).then_some((file, text, whole, all))
        };
        let files = names.into_iter().filter_map(read).collect();
        let answers = answers(folder.path()).expect("the layout is served");
        Self { folder, files, answers }
    }
}

thread_local! {
    static ALL: LazyCell<Vec<Layout>> = LazyCell::new(|| LAYOUTS.iter().map(|name| Layout::read(name)).collect());
}

/// What may stand in the place of a value of a kind. Far enough from it that an answer would show it.
fn instead(value: &Value, pick: u8) -> Value {
    let number = value.as_f64().unwrap_or(1.0);
    let all = [
        json!(!value.as_bool().unwrap_or(false)),
        json!(number * 2.0 + 1.0),
        json!(number as i64 * 2 + 1),
        json!(-1),
        json!(0),
        json!(1e9),
        Value::Null,
        json!("no such thing"),
        json!([]),
        json!({}),
        json!([value]),
        json!({"no": value}),
    ];
    all[usize::from(pick) % all.len()].clone()
}

// Panics that are caught are no finds; libFuzzer's own hook would abort at them. A find ends the process by itself.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| ())), |bytes: &[u8]| {
    let &[which, file, place, pick, ..] = bytes else { return };
    ALL.with(|all| {
        let layout = &all[usize::from(which) % all.len()];
        let (name, text, whole, paths) = &layout.files[usize::from(file) % layout.files.len()];
        let at = &paths[usize::from(place) % paths.len()];
        let value = whole.pointer(at).expect("its own path");
        let with = instead(value, pick);
        if with == *value {
            return;
        }
        let path = layout.folder.path().join(name);
        fs::write(&path, changed(whole, at, with.clone()).to_string()).expect("the file is written");
        let silent = answers(layout.folder.path()).is_ok_and(|after| after == layout.answers);
        fs::write(&path, text).expect("the file is written");
        if silent {
            let layout = LAYOUTS[usize::from(which) % LAYOUTS.len()];
            eprintln!("{layout}: passed over in silence: {}{at}: {value} -> {with}", name.display());
            std::process::abort();
        }
    });
});
