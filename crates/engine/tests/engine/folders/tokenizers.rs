//! Ids of tokenizer files under the classes of transformers, against transformers itself: `tests/data/make_tokenizers.py`.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_json::{Value, json};
use sortie_engine::{EncodeOptions, Model};

use super::{options, write};
use crate::support::oracle;

#[derive(Deserialize)]
struct Cases {
    texts: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    model_type: String,
    tokenizer: Option<Value>,
    config: Option<Value>,
    files: BTreeMap<String, String>,
    ids: Vec<Vec<u32>>,
    pair: Vec<u32>,
    segments: Vec<u32>,
}

fn cases() -> Cases {
    serde_json::from_str(include_str!("../../data/tokenizers.json")).unwrap()
}

/// A tiny model of the case's type with its tokenizer.
fn folder(case: &Case) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let from = oracle(&format!("{}-base", case.model_type));
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(file), to.path().join(file)).unwrap();
    }
    for (name, file) in [("tokenizer.json", &case.tokenizer), ("tokenizer_config.json", &case.config)] {
        if let Some(file) = file {
            write(to.path(), name, file);
        }
    }
    for (name, text) in &case.files {
        std::fs::write(to.path().join(name), text).unwrap();
    }
    to
}

#[test]
fn ids_are_those_of_the_class() {
    let Cases { texts, cases } = cases();
    for case in &cases {
        let folder = folder(case);
        let model = Model::open(folder.path(), &options()).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let tokenizer = model.tokenizer();
        let plain = EncodeOptions::default();
        for (text, want) in texts.iter().zip(&case.ids) {
            assert_eq!(&tokenizer.encode(text, &plain).unwrap().ids, want, "{}: {text:?}", case.name);
            assert_eq!(&tokenizer.detail(text, None, &plain, true).unwrap().sequence.ids, want, "{}", case.name);
        }
        let pair = tokenizer.encode_pair("w20 a", "b w21", &plain).unwrap();
        let segments: Vec<u32> = (0..pair.len()).map(|i| pair.type_id(i)).collect();
        assert_eq!((&pair.ids, &segments), (&case.pair, &case.segments), "{}", case.name);
    }
}

fn refusal(change: impl Fn(&Path)) -> String {
    let all = cases();
    let case = all.cases.iter().find(|case| case.name == "no class").unwrap();
    let folder = folder(case);
    change(folder.path());
    Model::open(folder.path(), &options()).unwrap_err().to_string()
}

#[test]
fn classes_and_vocabularies_that_do_not_go_together_are_refused_by_name() {
    let class = |name: &'static str| {
        move |folder: &Path| write(folder, "tokenizer_config.json", &json!({"tokenizer_class": name}))
    };
    for name in ["XLMRobertaTokenizer", "RobertaTokenizerFast"] {
        let error = refusal(class(name));
        assert!(error.contains(name) && error.contains("tokenizer.json"), "{error}");
    }
    let error = refusal(|folder| write(folder, "tokenizer_config.json", &json!({"cls_token": "<gone>"})));
    assert!(error.contains("<gone>") && error.contains("cls_token"), "{error}");
    let settings = json!({"tokenizer_class": "DebertaV2Tokenizer", "split_by_punct": true});
    let error = refusal(|folder| write(folder, "tokenizer_config.json", &settings));
    assert!(error.contains("tokenizer_config.json") && error.contains("split_by_punct"), "{error}");
    for name in ["spm.model", "sentencepiece.bpe.model", "vocab.json"] {
        let error = refusal(|folder| {
            std::fs::remove_file(folder.join("tokenizer.json")).unwrap();
            std::fs::write(folder.join(name), "x").unwrap();
        });
        assert!(error.contains(name) && error.contains("AutoTokenizer"), "{error}");
    }
    // A list of words that its class does not read.
    let error = refusal(|folder| {
        std::fs::rename(folder.join("tokenizer.json"), folder.join("vocab.txt")).unwrap();
        class("RobertaTokenizer")(folder);
    });
    assert!(error.contains("vocab.txt") && error.contains("python -c"), "{error}");
}

#[test]
fn the_older_name_of_the_length_counts() {
    let all = cases();
    let folder = folder(all.cases.iter().find(|case| case.name == "no class").unwrap());
    write(folder.path(), "tokenizer_config.json", &json!({"max_len": 7}));
    assert_eq!(Model::open(folder.path(), &options()).unwrap().info().max_length, 7);
}
