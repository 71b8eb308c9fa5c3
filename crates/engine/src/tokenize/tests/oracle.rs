//! Ids and counts against outputs of another implementation.

use std::fs;

use serde_json::Value;

use super::*;
use crate::item::Sequence;

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|n| u32::try_from(n.as_u64().unwrap()).unwrap()).collect()
}

fn type_ids(sequence: &Sequence) -> Vec<u32> {
    (0..sequence.len()).map(|i| sequence.type_id(i)).collect()
}

#[test]
fn ids_of_every_tiny_model_are_the_oracles() {
    let mut cases = 0;
    for entry in fs::read_dir(oracles().join("tiny")).unwrap() {
        let folder = entry.unwrap().path();
        let config = read(&folder.join("config.json"));
        let number = |key: &str| config[key].as_u64().map(|n| usize::try_from(n).unwrap());
        let positions = number("max_position_embeddings").unwrap();
        let kind = config["model_type"].as_str().unwrap();
        let offset = if kind.contains("roberta") { number("pad_token_id").unwrap() + 1 } else { 0 };
        let tokenizer = Tokenizer::load(&folder, positions - offset, number("vocab_size").unwrap()).unwrap();
        assert!(tokenizer.template_is_derived(), "{}", folder.display());
        for case in read(&folder.join("expected.json"))["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let options = EncodeOptions::default();
            let sequence = match case["pair"].as_str() {
                Some(pair) => {
                    let both = tokenizer.encode_pair(text, pair, &options).unwrap();
                    let query = tokenizer.query(text, &options).unwrap();
                    assert_eq!(tokenizer.encode_with(&query, pair).unwrap(), both);
                    both
                }
                None => tokenizer.encode(text, &options).unwrap(),
            };
            assert_eq!(sequence.ids, numbers(&case["input_ids"]), "{}: {text}", folder.display());
            if !case["token_type_ids"].is_null() {
                assert_eq!(type_ids(&sequence), numbers(&case["token_type_ids"]), "{}: {text}", folder.display());
            }
            cases += 1;
        }
    }
    assert!(cases > 100, "only {cases} cases");
}

#[test]
fn token_counts_of_minilm_are_the_oracles() {
    let tokenizer = minilm();
    assert!(tokenizer.template_is_derived());
    assert_eq!((tokenizer.vocab_size(), tokenizer.pad_id()), (30_522, Some(0)));
    let oracle = read(&oracles().join("minilm.json"));
    for case in oracle["embed"].as_array().unwrap() {
        let sequence = tokenizer.encode(case["text"].as_str().unwrap(), &EncodeOptions::default()).unwrap();
        assert_eq!(sequence.len() as u64, case["tokens"].as_u64().unwrap(), "{}", case["text"]);
    }
    let cut = options(Truncation::LongestFirst, 512);
    for case in oracle["rerank"].as_array().unwrap() {
        let (query, document) = (case["query"].as_str().unwrap(), case["document"].as_str().unwrap());
        let sequence = tokenizer.encode_pair(query, document, &cut).unwrap();
        assert_eq!(sequence.len() as u64, case["tokens"].as_u64().unwrap(), "{query}: {document}");
    }
}
