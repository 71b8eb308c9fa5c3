//! What folders do besides: exports that pool by themselves, cuts, similarities, heads, adapters, prompts.

use std::path::Path;

use serde_json::{Value, json};
use sortie_engine::{
    EmbedSpec, EncodeOptions, Executor, ItemFault, LoadOptions, Output, Problem, Task, Want, WorkItem, inspect,
};

use super::{numbers, open, refused, run, write};
use crate::support::{assemble, close, oracle};

/// Words `w0` to `w9` by their numbers.
fn words() -> Value {
    let vocab: serde_json::Map<String, Value> = (0..10).map(|i| (format!("w{i}"), json!(i))).collect();
    json!({"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}, "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "w1"}})
}

/// An embedder of one graph of tests/data, with modules around it.
fn export(graph: &str, pooling: &Value, library: &Value) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let data = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::fs::copy(data.join(format!("{graph}.onnx")), to.path().join("model.onnx")).unwrap();
    write(
        to.path(),
        "config.json",
        &json!({"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 10, "hidden_size": 4}),
    );
    write(to.path(), "tokenizer.json", &words());
    let class = |name: &str| format!("sentence_transformers.models.{name}");
    let modules = json!([
        {"path": "", "type": class("Transformer")}, {"path": "1_Pooling", "type": class("Pooling")}
    ]);
    write(to.path(), "modules.json", &modules);
    write(to.path(), "1_Pooling/config.json", pooling);
    write(to.path(), "config_sentence_transformers.json", library);
    to
}

#[test]
fn an_export_that_pools_by_itself_is_cut_too() {
    let folder = export("ugly", &json!({"pooling_mode": "mean"}), &json!({"truncate_dim": 2}));
    let model = open(folder.path());
    assert_eq!(model.info().dimensions, 2);
    let sequence = model.tokenizer().encode("w2 w4", &EncodeOptions::default()).unwrap();
    close(
        &numbers(&run(&model, vec![sequence.clone()], Want::Embedding(EmbedSpec::default()))[0]),
        &[3.0, -3.0],
        1e-6,
        "cut",
    );
    // It has one vector a text and no others.
    assert!(!model.info().rpcs().contains(&"EmbedTokens"));
    let mut executor = Executor::new(&model).unwrap();
    let item = WorkItem { sequence, want: Want::TokenEmbeddings };
    assert!(matches!(executor.run(&[&item]).remove(0), Err(ItemFault::WrongWant(_))));
}

#[test]
fn a_prompt_cannot_be_left_out_of_a_pooling_inside_a_graph() {
    let pooling = json!({"pooling_mode": "mean", "include_prompt": false});
    let error = refused(export("ugly", &pooling, &json!({})).path());
    assert!(error.contains("include_prompt") && error.contains("model.onnx"), "{error}");
    // Where the graph gives token states, it can.
    open(export("states", &pooling, &json!({})).path());
}

#[test]
fn an_export_gives_its_token_states() {
    let folder = export("states", &json!({"pooling_mode": "mean"}), &json!({}));
    let model = open(folder.path());
    assert!(inspect(folder.path(), &LoadOptions::default()).unwrap().rpcs.contains(&"EmbedTokens"));
    let sequence = model.tokenizer().encode("w2 w4", &EncodeOptions::default()).unwrap();
    let Output::TokenEmbeddings(vectors) = run(&model, vec![sequence], Want::TokenEmbeddings).remove(0) else {
        panic!("token vectors are wanted")
    };
    // Each state and the mean of both.
    close(&vectors.values, &[5.0, -5.0, 2.5, 2.0, 7.0, -7.0, 3.5, 2.0], 1e-6, "states");
}

#[test]
fn more_dimensions_than_a_folder_keeps_are_refused() {
    let folder = export("states", &json!({"pooling_mode": "mean"}), &json!({"truncate_dim": 2}));
    let model = open(folder.path());
    let mut executor = Executor::new(&model).unwrap();
    let sequence = model.tokenizer().encode("w2 w4", &EncodeOptions::default()).unwrap();
    let mut of = |dimensions| {
        let spec = EmbedSpec { dimensions: Some(dimensions), ..EmbedSpec::default() };
        executor.run(&[&WorkItem { sequence: sequence.clone(), want: Want::Embedding(spec) }]).remove(0)
    };
    assert_eq!(numbers(&of(1).unwrap()).len(), 1);
    assert_eq!(numbers(&of(2).unwrap()).len(), 2);
    assert!(of(3).unwrap_err().to_string().contains("dimensions"));
}

#[test]
fn similarities_and_cuts_of_another_kind_of_model_are_refused() {
    let folder = assemble("compact-lasttoken");
    write(folder.path(), "config_sentence_transformers.json", &json!({"similarity_fn_name": "maxsim"}));
    assert!(refused(folder.path()).contains("similarity_fn_name"));
    write(folder.path(), "config_sentence_transformers.json", &json!({"similarity_fn_name": "dot"}));
    assert_eq!(open(folder.path()).info().similarity.as_deref(), Some("dot"));
    let late = assemble("bert-mve-plain");
    let library = late.path().join("config_sentence_transformers.json");
    let mut written: serde_json::Map<String, Value> =
        serde_json::from_str(&std::fs::read_to_string(&library).unwrap()).unwrap();
    written.insert("truncate_dim".to_owned(), json!(4));
    write(late.path(), "config_sentence_transformers.json", &Value::Object(written));
    assert!(refused(late.path()).contains("truncate_dim 4"));
}

#[test]
fn logits_of_a_masked_lm_head_are_not_pooled() {
    let folder = assemble("compact-lasttoken");
    write(folder.path(), "sentence_bert_config.json", &json!({"transformer_task": "fill-mask"}));
    let error = refused(folder.path());
    assert!(error.contains("modules.json") && error.contains("masked-LM"), "{error}");
}

#[test]
fn cross_encoders_of_modules_obey_their_problem_type() {
    let folder = assemble("ce-dense");
    let problem = |folder: &Path| match open(folder).info().task.clone() {
        Task::SequenceClassification { problem, .. } => problem,
        other => panic!("{other:?}"),
    };
    assert_eq!(problem(folder.path()), Problem::SingleLabel);
    let config = folder.path().join("config.json");
    let mut written: serde_json::Map<String, Value> =
        serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    written.insert("problem_type".to_owned(), json!("regression"));
    write(folder.path(), "config.json", &Value::Object(written));
    assert_eq!(problem(folder.path()), Problem::Regression);
}

#[test]
fn an_adapter_counts_beside_whole_weights() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(oracle("bert-base").join(file), folder.path().join(file)).unwrap();
    }
    let config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "org/elsewhere"});
    write(folder.path(), "adapter_config.json", &config);
    let error = refused(folder.path());
    assert!(error.contains("adapter_config.json") && error.contains("merged already"), "{error}");
}

#[test]
fn a_plain_text_is_not_its_prompt() {
    let folder = assemble("compact-lasttoken");
    let model = open(folder.path());
    let plain = EncodeOptions { plain: true, ..EncodeOptions::default() };
    let tokenizer = model.tokenizer();
    let (special, mask) = ("[MASK]", tokenizer.token_id("[MASK]").unwrap());
    let count = |ids: &[u32]| ids.iter().filter(|&&id| id == mask).count();
    let made = tokenizer.encode_after(&format!("{special} w20 "), "w21", &plain).unwrap();
    let usual = tokenizer.encode_after(&format!("{special} w20 "), "w21", &EncodeOptions::default()).unwrap();
    assert_eq!(made, usual, "a prompt is read as ever");
    let injected = tokenizer.encode_after(&format!("{special} w20 "), "w21[MASK]w22", &plain).unwrap();
    assert_eq!((count(&made.ids), count(&injected.ids)), (1, 1));
    let read = tokenizer.encode_after(&format!("{special} w20 "), "w21[MASK]w22", &EncodeOptions::default()).unwrap();
    assert_eq!(count(&read.ids), 2);
    // The twin: without a special token of its own a prompt joins the text as ever.
    assert_eq!(
        tokenizer.encode_after("w20 ", "w21[MASK]w22", &plain).unwrap().ids.len(),
        tokenizer.encode("w20 w21[MASK]w22", &plain).unwrap().ids.len()
    );
}

#[test]
fn a_revision_covers_what_lies_elsewhere() {
    let base = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(oracle("bert-base").join(file), base.path().join(file)).unwrap();
    }
    let adapter = tempfile::tempdir().unwrap();
    let config = json!({"peft_type": "LORA", "r": 1, "lora_alpha": 4, "base_model_name_or_path": base.path()});
    write(adapter.path(), "adapter_config.json", &config);
    let name = |part: &str| format!("base_model.model.encoder.layer.0.attention.self.query.lora_{part}.weight");
    let bytes: Vec<u8> = (0..64).flat_map(|i| (i as f32 / 100.0).to_le_bytes()).collect();
    let view =
        |shape: Vec<usize>| safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, &bytes).unwrap();
    let tensors = [(name("A"), view(vec![1, 64])), (name("B"), view(vec![64, 1]))];
    safetensors::serialize_to_file(tensors, None, &adapter.path().join("adapter_model.safetensors")).unwrap();
    let revision = || open(adapter.path()).info().revision.clone();
    let first = revision();
    assert_eq!(first, revision());
    write(base.path(), "special_tokens_map.json", &json!({"cls_token": "[CLS]"}));
    assert_ne!(first, revision());
}
