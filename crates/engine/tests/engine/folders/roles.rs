//! Roles on every way in: ready ids, windows, details, lengths; and the layouts of late interaction.

use std::path::Path;

use serde_json::{Value, json};
use sortie_engine::{Passage, Role, Task, Want, WindowPlan};

use super::{as_role, open, refused, run, write};
use crate::support::{assemble, edit};

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
        let windows = tokenizer
            .windows_of("", Passage::Text(&text), WindowPlan { stride: 2, most_tokens: usize::MAX }, &as_role(role))
            .unwrap();
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

#[test]
fn models_that_read_roles_apart_say_so() {
    for (name, want) in
        [("router", true), ("pylate", true), ("bert-mve-plain", true), ("lower", false), ("static-st", false)]
    {
        assert_eq!(open(assemble(name).path()).info().reads_roles, want, "{name}");
    }
}
