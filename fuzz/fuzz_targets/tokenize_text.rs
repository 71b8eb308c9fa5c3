//! Any text through the fast tokenizer and through the reference: the same ids.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sortie_engine::{EncodeOptions, Tokenizer, TokenizerPath};

/// Room for whatever libFuzzer makes.
const LONGEST: usize = 1 << 20;

thread_local! {
    static ALL: Vec<Tokenizer> = ["bert", "roberta", "unigram"].into_iter().map(|kind| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tokenizers").join(kind);
        let tokenizer = Tokenizer::load(&folder, LONGEST, LONGEST).expect("the file is served");
        assert_eq!(tokenizer.path(), TokenizerPath::Fast, "{kind}");
        tokenizer
    }).collect();
}

// Panics that are caught, as those of a tokenizer crate are, are no finds; libFuzzer's own hook would abort at them.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| ())), |text: &str| {
    ALL.with(|all| {
        for tokenizer in all {
            let options = EncodeOptions::default();
            let ours = tokenizer.encode(text, &options).map(|made| made.ids);
            // Details always come from the reference.
            let truth = tokenizer.detail(text, None, &options, true).map(|made| made.sequence.ids);
            assert_eq!(ours, truth);
        }
    });
});
