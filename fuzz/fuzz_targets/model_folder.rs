//! A served folder of which one file is any bytes: opening it refuses or serves.
//!
//! The first byte picks the file, the rest is what is in it.
#![no_main]

use std::{cell::LazyCell, fs, path::Path};

use libfuzzer_sys::fuzz_target;
use sortie_engine::{LoadOptions, Model};
use tempfile::TempDir;

/// Files that are replaced, one at a time. `model.onnx` is looked at where there are no weights beside it.
const FILES: [&str; 8] = [
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "tokenizer_config.json",
    "model.onnx",
];

thread_local! {
    static FOLDER: LazyCell<TempDir> = LazyCell::new(|| tempfile::tempdir().expect("a folder"));
}

/// A tiny reranker of the project's tests.
fn good() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/oracle/tiny/bert-rerank")
}

// Panics that are caught, as those of a tokenizer crate are, are no finds; libFuzzer's own hook would abort at them.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| ())), |bytes: &[u8]| {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    let Some(file) = FILES.get(usize::from(which) % FILES.len()) else { return };
    FOLDER.with(|folder| {
        let folder = folder.path();
        // Whatever the last run left.
        for file in FILES {
            let _ = fs::remove_file(folder.join(file));
        }
        fs::create_dir_all(folder.join("1_Pooling")).expect("a folder");
        let kept: &[&str] = match *file {
            "model.onnx" => &["config.json", "tokenizer.json"],
            // An index stands for the weights.
            "model.safetensors.index.json" => &["config.json", "tokenizer.json"],
            _ => &["config.json", "tokenizer.json", "model.safetensors"],
        };
        for kept in kept {
            if !folder.join(kept).exists() {
                fs::copy(good().join(kept), folder.join(kept)).expect("the file is there");
            }
        }
        fs::write(folder.join(file), bytes).expect("the file is written");
        if let Ok(model) = Model::open(folder, &LoadOptions::default()) {
            let info = model.info();
            assert!(info.max_length > 0, "{info:?}");
        }
    });
});
