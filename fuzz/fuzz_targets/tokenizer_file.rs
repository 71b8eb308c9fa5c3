//! Any bytes as `tokenizer.json`: loading refuses or serves, and what it serves
//! tokenizes without a panic and within its limits.
#![no_main]

use std::{cell::LazyCell, fs};

use libfuzzer_sys::fuzz_target;
use sortie_engine::{EncodeOptions, Tokenizer, Truncation};
use tempfile::TempDir;

/// Longest sequence of the made-up model.
const LONGEST: usize = 32;

/// Rows of its embedding table.
const ROWS: usize = 4096;

const TEXTS: [&str; 4] = ["", "a plain text, and more of it", "Größe 漢字 👩‍👩‍👧 e\u{301} [CLS]<mask>", "\u{0}\u{fffd}\n  "];

thread_local! {
    static FOLDER: LazyCell<TempDir> = LazyCell::new(|| tempfile::tempdir().expect("a folder for the file"));
}

// Panics that are caught, as those of a tokenizer crate are, are no finds; libFuzzer's own hook would abort at them.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| ())), |bytes: &[u8]| {
    FOLDER.with(|folder| {
        fs::write(folder.path().join("tokenizer.json"), bytes).expect("the file is written");
        let Ok(tokenizer) = Tokenizer::load(folder.path(), LONGEST, ROWS) else { return };
        for truncation in [Truncation::DocumentOnly, Truncation::LongestFirst, Truncation::Error] {
            let options = EncodeOptions { truncation, ..EncodeOptions::default() };
            for (a, b) in TEXTS.iter().zip(TEXTS.iter().cycle().skip(1)) {
                for made in [tokenizer.encode(a, &options), tokenizer.encode_pair(a, b, &options)].into_iter().flatten() {
                    assert!(made.len() <= LONGEST, "{} tokens", made.len());
                    assert!(made.ids.iter().all(|&id| (id as usize) < ROWS), "{:?}", made.ids);
                    assert!(made.type_ids.is_empty() || made.type_ids.len() == made.len());
                }
                if let Ok(detailed) = tokenizer.detail(a, Some(b), &options, true) {
                    for d in &detailed.details {
                        let text = if d.second { b } else { a };
                        assert!(text.get(d.start..d.end).is_some(), "{d:?}");
                    }
                }
            }
        }
    });
});
