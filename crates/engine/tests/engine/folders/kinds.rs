//! What folders do besides: exports that pool by themselves, tables, roles on every way in, cuts, adapters.

use std::path::Path;

use serde_json::{Value, json};
use sortie_engine::{
    EmbedSpec, EncodeOptions, Executor, ItemFault, LoadOptions, Model, Output, Problem, Role, Task, Want, WorkItem,
    inspect,
};

use super::{numbers, open, options, run};
use crate::support::{assemble, close, edit, oracle};

fn write(folder: &Path, file: &str, value: &Value) {
    let path = folder.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, value.to_string()).unwrap();
}

fn refused(folder: &Path) -> String {
    Model::open(folder, &options()).unwrap_err().to_string()
}

fn as_role(role: Role) -> EncodeOptions {
    EncodeOptions { role: Some(role), ..EncodeOptions::default() }
}

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
fn ready_ids_go_the_way_of_their_role() {
    let folder = assemble("router");
    let model = open(folder.path());
    let tokenizer = model.tokenizer();
    let text = "w20 w21 w22";
    for role in Role::ALL {
        let by_text = tokenizer.encode(text, &as_role(role)).unwrap();
        let by_ids = tokenizer.from_ids(by_text.ids.clone(), Vec::new(), &as_role(role)).unwrap();
        assert_eq!(by_text, by_ids);
        assert_eq!(run(&model, vec![by_text], Want::Sparse), run(&model, vec![by_ids], Want::Sparse));
    }
    let pylate = assemble("pylate");
    let model = open(pylate.path());
    for role in Role::ALL {
        let by_text = model.tokenizer().encode("w20 w21", &as_role(role)).unwrap();
        let by_ids = model.tokenizer().from_ids(by_text.ids.clone(), Vec::new(), &as_role(role)).unwrap();
        assert_eq!((by_text.expansion, by_ids.expansion), (by_ids.expansion, by_text.expansion));
        assert_eq!(run(&model, vec![by_text], Want::TokenEmbeddings), run(&model, vec![by_ids], Want::TokenEmbeddings));
    }
    // A query has 12 tokens there, a document 40.
    let long = vec![20; 20];
    assert!(model.tokenizer().from_ids(long.clone(), Vec::new(), &as_role(Role::Document)).is_ok());
    assert_eq!(model.tokenizer().from_ids(long, Vec::new(), &as_role(Role::Query)).unwrap_err().reason(), "TOO_LONG");
}

#[test]
fn windows_and_details_are_those_of_the_role() {
    let pylate = assemble("pylate");
    let model = open(pylate.path());
    let tokenizer = model.tokenizer();
    let text = (20..80).map(|i| format!("w{i}")).collect::<Vec<_>>().join(" ");
    for (role, most) in [(Role::Query, 12), (Role::Document, 40)] {
        let windows = tokenizer.windows_of(&text, 2, &as_role(role)).unwrap();
        assert!(windows.sequences.iter().all(|s| s.len() <= most && s.role == Some(role)));
        assert_eq!(windows.sequences[0].len(), most);
        assert_eq!(windows.sequences[0].ids, tokenizer.encode(&text, &as_role(role)).unwrap().ids);
        assert_eq!(windows.tokens.iter().sum::<usize>() - 2 * (windows.tokens.len() - 1), 60);
        for text in ["w20 w21", text.as_str()] {
            let made = tokenizer.detail(text, None, &as_role(role), true).unwrap();
            assert_eq!(made.sequence, tokenizer.encode(text, &as_role(role)).unwrap());
            assert_eq!(made.details.len(), made.sequence.len());
            assert!(made.details[1].special, "the marker");
        }
    }
}

#[test]
fn lengths_of_roles_stand_in_the_place_of_the_folders_and_go_into_its_positions() {
    let folder = assemble("pylate");
    let library = folder.path().join("config_sentence_transformers.json");
    // What PyLate leaves in the other file is the length of the text it read last.
    write(folder.path(), "sentence_bert_config.json", &json!({"max_seq_length": 9}));
    let model = open(folder.path());
    let text = "w20 ".repeat(60);
    assert_eq!(model.tokenizer().encode(&text, &as_role(Role::Document)).unwrap().len(), 40);
    edit(&library, "\"document_length\": 40", "\"document_length\": 4000");
    let error = refused(folder.path());
    assert!(error.contains("document_length is 4000"), "{error}");
}

#[test]
fn settings_of_pylate_count_where_no_class_is_named() {
    let folder = assemble("pylate");
    let library = folder.path().join("config_sentence_transformers.json");
    let written: serde_json::Map<String, Value> =
        serde_json::from_str(&std::fs::read_to_string(&library).unwrap()).unwrap();
    let with = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut all = written.clone();
        change(&mut all);
        write(folder.path(), "config_sentence_transformers.json", &Value::Object(all));
    };
    with(&|all| drop(all.remove("model_type")));
    let model = open(folder.path());
    assert_eq!(model.info().task, Task::LateInteraction);
    assert_eq!(model.tokenizer().encode("w20", &as_role(Role::Query)).unwrap().len(), 12);
    with(&|all| drop(all.insert("model_type".to_owned(), json!("SentenceTransformer"))));
    let error = refused(folder.path());
    assert!(error.contains("config_sentence_transformers.json") && error.contains("ColBERT"), "{error}");
    // Its Dense alone says it too.
    std::fs::remove_file(&library).unwrap();
    let modules = std::fs::read_to_string(folder.path().join("modules.json")).unwrap();
    assert!(modules.contains("pylate.models"), "{modules}");
    assert_eq!(open(folder.path()).info().task, Task::LateInteraction);
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
fn models_that_read_roles_apart_say_so() {
    for (name, want) in
        [("router", true), ("pylate", true), ("bert-mve-plain", true), ("lower", false), ("static-st", false)]
    {
        assert_eq!(open(assemble(name).path()).info().reads_roles, want, "{name}");
    }
}

/// Rewrites a safetensors file with the tensors that `more` adds: name, shape, numbers.
fn with_tensors(from: &Path, to: &Path, more: &[(&str, Vec<usize>, Vec<f32>)]) {
    use safetensors::{Dtype, SafeTensors, tensor::TensorView};
    let bytes = std::fs::read(from).unwrap();
    let there = SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<(String, TensorView<'_>)> = there.tensors();
    let raw: Vec<Vec<u8>> =
        more.iter().map(|(_, _, numbers)| numbers.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    for ((name, shape, _), raw) in more.iter().zip(&raw) {
        all.push(((*name).to_owned(), TensorView::new(Dtype::F32, shape.clone(), raw).unwrap()));
    }
    safetensors::serialize_to_file(all, None, to).unwrap();
}

/// One tensor of a file.
fn tensor(file: &Path, name: &str) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(file).unwrap();
    let there = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = there.tensor(name).unwrap();
    let numbers = view.data().chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect();
    (view.shape().to_vec(), numbers)
}

#[test]
fn stanfords_layout_is_pylates_with_other_files() {
    let pylate = assemble("pylate");
    let stanford = tempfile::tempdir().unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(pylate.path().join(file), stanford.path().join(file)).unwrap();
    }
    let mut config: Value =
        serde_json::from_str(&std::fs::read_to_string(pylate.path().join("config.json")).unwrap()).unwrap();
    config["architectures"] = json!(["HF_ColBERT"]);
    write(stanford.path(), "config.json", &config);
    let (shape, numbers) = tensor(&pylate.path().join("1_Dense/model.safetensors"), "linear.weight");
    with_tensors(
        &pylate.path().join("model.safetensors"),
        &stanford.path().join("model.safetensors"),
        &[("linear.weight", shape, numbers)],
    );
    let metadata = json!({"query_token_id": "[Q] ", "doc_token_id": "[D] ", "query_maxlen": 12, "doc_maxlen": 40});
    write(stanford.path(), "artifact.metadata", &metadata);
    let vectors = |folder: &Path, role| {
        let model = open(folder);
        let sequence = model.tokenizer().encode("w20 w21, w22", &as_role(role)).unwrap();
        run(&model, vec![sequence], Want::TokenEmbeddings)
    };
    for role in Role::ALL {
        assert_eq!(vectors(stanford.path(), role), vectors(pylate.path(), role));
    }
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
