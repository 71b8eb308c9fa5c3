//! Tables without an encoder: whose tokenizer, whose limit, alone and as one route of a model.

use std::path::Path;

use serde_json::{Value, json};
use sortie_engine::{EmbedSpec, EncodeOptions, Model, Role, Want};

use super::{as_role, numbers, open, refused, run, write};
use crate::support::assemble;

/// The table of `static-st` as model2vec lays it out.
fn model2vec(config: &Value, tokenizer: impl Fn(&mut Value)) -> tempfile::TempDir {
    let folder = assemble("static-st");
    std::fs::remove_file(folder.path().join("modules.json")).unwrap();
    write(folder.path(), "config.json", config);
    change_tokenizer(folder.path(), tokenizer);
    folder
}

fn change_tokenizer(folder: &Path, change: impl Fn(&mut Value)) {
    let path = folder.join("tokenizer.json");
    let mut file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut file);
    std::fs::write(path, file.to_string()).unwrap();
}

/// A truncation that somebody saved in the file.
fn baked(file: &mut Value) {
    file["truncation"] = json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
}

#[test]
fn model2vec_has_a_limit_unless_it_says_null() {
    let text = "w20 ".repeat(600);
    let length = |config: Value| {
        let folder = model2vec(&config, baked);
        let model = open(folder.path());
        (model.info().max_length, model.tokenizer().encode(&text, &EncodeOptions::default()).unwrap().len())
    };
    assert_eq!(length(json!({"model_type": "model2vec"})), (512, 512));
    assert_eq!(length(json!({"model_type": "model2vec", "max_length": 5})).1, 5);
    let (most, all) = length(json!({"model_type": "model2vec", "max_length": null}));
    assert!(most > 100_000 && all == 600, "{most} {all}");
    for (key, value) in [
        ("max_length", json!("many")),
        ("max_length", json!(0)),
        ("max_length", json!(1.5)),
        ("normalize", json!("yes")),
    ] {
        let mut config = json!({"model_type": "model2vec"});
        config[key] = value;
        let error = refused(model2vec(&config, |_| {}).path());
        assert!(error.contains("config.json") && error.contains(key), "{error}");
    }
}

#[test]
fn a_table_obeys_its_tokenizers_own_file_and_no_other() {
    let folder = assemble("static-st");
    // The library reads tokenizer.json alone.
    write(folder.path(), "tokenizer_config.json", &json!({"tokenizer_class": "BertTokenizer", "model_max_length": 2}));
    let ids =
        |folder: &Path| open(folder).tokenizer().encode("W20 w21 w22 w23 w24", &EncodeOptions::default()).unwrap().ids;
    let unknown = ids(folder.path())[0];
    assert_eq!((unknown != 20, ids(folder.path()).len()), (true, 5));
    change_tokenizer(folder.path(), baked);
    assert_eq!(ids(folder.path()).len(), 3);
    assert_eq!(open(folder.path()).info().max_length, 3);
}

/// Queries by a table of `width` numbers, documents by an encoder of 64.
fn two_ways(width: usize) -> tempfile::TempDir {
    let folder = assemble("compact-lasttoken");
    std::fs::remove_file(folder.path().join("config_sentence_transformers.json")).unwrap();
    let table = folder.path().join("query_0_StaticEmbedding");
    std::fs::create_dir(&table).unwrap();
    std::fs::copy(folder.path().join("tokenizer.json"), table.join("tokenizer.json")).unwrap();
    let rows: Vec<f32> = (0..300 * width).map(|i| (i % 7) as f32 - 3.0).collect();
    let bytes: Vec<u8> = rows.iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![300, width], &bytes).unwrap();
    safetensors::serialize_to_file([("embedding.weight", view)], None, &table.join("model.safetensors")).unwrap();
    let class = |name: &str| format!("sentence_transformers.models.{name}");
    write(
        folder.path(),
        "modules.json",
        &json!([{"path": "", "type": class("Router")}, {"path": "2_Normalize", "type": class("Normalize")}]),
    );
    let router = json!({
        "types": {"query_0_StaticEmbedding": class("StaticEmbedding"), "": class("Transformer"), "1_Pooling": class("Pooling")},
        "structure": {"query": ["query_0_StaticEmbedding"], "document": ["", "1_Pooling"]},
        "parameters": {"default_route": "document"},
    });
    write(folder.path(), "router_config.json", &router);
    folder
}

#[test]
fn a_static_route_has_its_own_limit_and_rules() {
    let folder = two_ways(64);
    let encoder = open(folder.path());
    let most = encoder.info().max_length;
    let text = "w20 ".repeat(most + 50);
    let of = |model: &Model, role| model.tokenizer().encode(&text, &as_role(role)).unwrap();
    // A table has no positions, and no special tokens.
    assert_eq!((of(&encoder, Role::Query).len(), of(&encoder, Role::Document).len()), (most + 50, most));
    let table = folder.path().join("query_0_StaticEmbedding");
    write(&table, "tokenizer_config.json", &json!({"model_max_length": 2, "tokenizer_class": "BertTokenizer"}));
    assert_eq!(of(&open(folder.path()), Role::Query).len(), most + 50, "only its tokenizer.json counts");
    change_tokenizer(&table, baked);
    let model = open(folder.path());
    assert_eq!(of(&model, Role::Query).len(), 3);
    let both = vec![of(&model, Role::Query), of(&model, Role::Document)];
    assert!(run(&model, both, Want::Embedding(EmbedSpec::default())).iter().all(|v| numbers(v).len() == 64));
    let error = refused(two_ways(32).path());
    assert!(error.contains("router_config.json") && error.contains("32") && error.contains("64"), "{error}");
}
