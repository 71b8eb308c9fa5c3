//! Fetching from a model hub, against a stand-in on a real socket.

mod stand_in;

use std::path::Path;

use tempfile::TempDir;

use super::{Export, HubError, HubOptions, LocalModel, fetch};
use stand_in::{COMMIT, NAME, StandIn};

fn options(hub: &StandIn, cache: &TempDir) -> HubOptions {
    HubOptions {
        endpoint: Some(hub.endpoint.clone()),
        cache: Some(cache.path().to_owned()),
        token: Some("hf_secret".to_owned()),
        ..HubOptions::default()
    }
}

/// What the error says, causes too.
fn story(error: &HubError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn holds(folder: &Path, hub: &StandIn, files: &[&str]) {
    for file in files {
        assert_eq!(std::fs::read(folder.join(file)).unwrap(), hub.file(file), "{file}");
    }
}

#[tokio::test]
async fn a_model_is_fetched_once_and_then_served_without_the_hub() {
    let (hub, cache) = (StandIn::start().await, tempfile::tempdir().unwrap());
    hub.put("pytorch_model.bin", b"not for us");
    hub.put("1_Pooling/config.json", b"{}");
    let options = options(&hub, &cache);

    let first = fetch(NAME, None, &options).await.unwrap();
    assert_eq!(first.commit, COMMIT);
    holds(&first.folder, &hub, &["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"]);
    assert!(!first.folder.join("pytorch_model.bin").exists());
    assert!(!first.folder.join("expected.json").exists());
    let seen = hub.take_seen();
    assert!(seen.iter().all(|line| line.ends_with("+token")), "{seen:?}");

    // Online again: the branch is looked up, no file is asked for.
    assert_eq!(fetch(NAME, None, &options).await.unwrap(), first);
    let seen = hub.take_seen();
    assert!(!seen.is_empty() && seen.iter().all(|line| line.starts_with("GET /api/")), "{seen:?}");

    // Offline: nothing is asked at all.
    let offline = HubOptions { offline: true, ..options.clone() };
    assert_eq!(fetch(NAME, None, &offline).await.unwrap(), first);
    assert_eq!(fetch(NAME, Some(COMMIT), &offline).await.unwrap(), first);
    assert!(hub.take_seen().is_empty());

    // The hub is gone: what is cached is served.
    hub.stop().await;
    assert_eq!(fetch(NAME, None, &options).await.unwrap(), first);
}

#[tokio::test]
async fn an_export_is_fetched_by_its_name() {
    let (hub, cache) = (StandIn::start().await, tempfile::tempdir().unwrap());
    hub.put("onnx/model_O3.onnx", b"an export");
    let named = |file: &str| HubOptions { export: Export::Named(file.to_owned()), ..options(&hub, &cache) };
    let found = fetch(NAME, None, &named("onnx/model_O3.onnx")).await.unwrap();
    holds(&found.folder, &hub, &["config.json", "onnx/model_O3.onnx"]);
    assert!(!found.folder.join("model.safetensors").exists());
    let error = fetch(NAME, None, &named("onnx/model_O4.onnx")).await.unwrap_err();
    assert!(matches!(&error, HubError::NoExport { file, .. } if file == "onnx/model_O4.onnx"), "{error:?}");
    // What is cached of one export is not another's.
    let offline = HubOptions { offline: true, ..named("onnx/model_O4.onnx") };
    assert!(matches!(fetch(NAME, None, &offline).await.unwrap_err(), HubError::NotCached { .. }));
    let offline = HubOptions { offline: true, ..named("onnx/model_O3.onnx") };
    assert_eq!(fetch(NAME, None, &offline).await.unwrap(), found);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let (hub, cache) = (StandIn::start().await, tempfile::tempdir().unwrap());
    let options = options(&hub, &cache);
    for bare in [false, true] {
        let error = fetch("sortie-tests/nothing", None, &options).await.unwrap_err();
        assert!(matches!(&error, HubError::NotFound { name } if name == "sortie-tests/nothing"), "{bare} {error:?}");
        let error = fetch(NAME, Some("v9"), &options).await.unwrap_err();
        assert!(matches!(&error, HubError::RevisionNotFound { revision, .. } if revision == "v9"), "{bare} {error:?}");
        hub.bare();
    }
    assert!(matches!(fetch("no-owner", None, &options).await.unwrap_err(), HubError::BadName { .. }));
    assert!(matches!(fetch(NAME, Some("../../up"), &options).await.unwrap_err(), HubError::RevisionNotFound { .. }));

    hub.remove("model.safetensors");
    assert!(matches!(fetch(NAME, None, &options).await.unwrap_err(), HubError::NoWeights { .. }));
    // A fetch that failed leaves nothing that would be served offline.
    let offline = HubOptions { offline: true, ..options };
    let error = fetch(NAME, None, &offline).await.unwrap_err();
    assert!(matches!(&error, HubError::NotCached { .. }), "{error:?}");
    assert!(story(&error).contains("HF_HUB_OFFLINE"), "{}", story(&error));
}

#[tokio::test]
async fn without_a_network_and_a_cache_it_says_so() {
    let (hub, cache) = (StandIn::start().await, tempfile::tempdir().unwrap());
    let options = options(&hub, &cache);
    hub.stop().await;
    let error = fetch(NAME, None, &options).await.unwrap_err();
    let HubError::Unreachable { endpoint, .. } = &error else { panic!("{error:?}") };
    assert_eq!(Some(endpoint), options.endpoint.as_ref());
    assert!(story(&error).contains("HF_ENDPOINT") && !story(&error).contains("hf_secret"), "{}", story(&error));
}

#[tokio::test]
async fn a_transfer_that_breaks_off_is_an_error_and_recovers() {
    let (hub, cache) = (StandIn::start().await, tempfile::tempdir().unwrap());
    let options = options(&hub, &cache);
    hub.cut("model.safetensors", 1_000);
    let error = fetch(NAME, None, &options).await.unwrap_err();
    assert!(matches!(&error, HubError::Transfer { file, .. } if file == "model.safetensors"), "{error:?}");
    let offline = HubOptions { offline: true, ..options.clone() };
    for revision in [None, Some(COMMIT)] {
        let error = fetch(NAME, revision, &offline).await.unwrap_err();
        assert!(matches!(error, HubError::NotCached { .. }), "{error:?}");
    }
    hub.take_seen();
    let LocalModel { folder, .. } = fetch(NAME, None, &options).await.unwrap();
    holds(&folder, &hub, &["config.json", "tokenizer.json", "model.safetensors"]);
    // What had come whole was kept.
    let seen = hub.take_seen();
    assert!(!seen.iter().any(|line| line.contains("tokenizer.json")), "{seen:?}");
}

#[tokio::test]
async fn an_error_page_in_place_of_a_file_is_not_kept() {
    let (hub, cache) = (StandIn::start().await, tempfile::tempdir().unwrap());
    let options = options(&hub, &cache);
    hub.error_page("model.safetensors");
    let error = fetch(NAME, None, &options).await.unwrap_err();
    assert!(matches!(&error, HubError::WrongSize { file, .. } if file == "model.safetensors"), "{error:?}");
    let LocalModel { folder, .. } = fetch(NAME, Some("v1"), &options).await.unwrap();
    holds(&folder, &hub, &["model.safetensors"]);
}

#[tokio::test]
async fn shards_and_exports_are_found() {
    let (hub, cache) = (StandIn::start().await, tempfile::tempdir().unwrap());
    let weights = hub.file("model.safetensors");
    hub.remove("model.safetensors");
    hub.put("model-00001-of-00001.safetensors", &weights);
    hub.put("model.safetensors.index.json", br#"{"weight_map":{"a":"model-00001-of-00001.safetensors"}}"#);
    let options = options(&hub, &cache);
    let LocalModel { folder, .. } = fetch(NAME, None, &options).await.unwrap();
    holds(&folder, &hub, &["model-00001-of-00001.safetensors"]);

    let cache = tempfile::tempdir().unwrap();
    hub.put("config.json", br#"{"model_type":"xlnet"}"#);
    let elsewhere = HubOptions { cache: Some(cache.path().to_owned()), ..options };
    let error = fetch(NAME, None, &elsewhere).await.unwrap_err();
    assert!(matches!(&error, HubError::NeedsOnnx { model_type, .. } if model_type == "xlnet"), "{error:?}");
    hub.put("onnx/model.onnx", b"graph");
    hub.put("onnx/model.onnx_data", b"numbers");
    hub.put("onnx/model_int8.onnx", b"other graph");
    let LocalModel { folder, .. } = fetch(NAME, None, &elsewhere).await.unwrap();
    holds(&folder, &hub, &["onnx/model.onnx", "onnx/model.onnx_data"]);
    assert!(!folder.join("onnx/model_int8.onnx").exists());
    assert!(!folder.join("model-00001-of-00001.safetensors").exists());
}

/// A cache as a tool leaves it that only wanted the encoder: what the hub has besides is not there.
fn partly_cached(cache: &Path, architecture: &str) -> std::path::PathBuf {
    let repo = cache.join("models--org--part");
    let folder = repo.join("snapshots").join(COMMIT);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::create_dir_all(repo.join("refs")).unwrap();
    std::fs::write(repo.join("refs/main"), COMMIT).unwrap();
    let config = format!(r#"{{"model_type": "bert", "architectures": ["{architecture}"]}}"#);
    std::fs::write(folder.join("config.json"), config).unwrap();
    std::fs::write(folder.join("model.safetensors"), b"numbers").unwrap();
    repo
}

#[tokio::test]
async fn what_another_tool_cached_in_part_is_not_served_offline() {
    let cache = tempfile::tempdir().unwrap();
    let offline = HubOptions { offline: true, cache: Some(cache.path().to_owned()), ..HubOptions::default() };
    let repo = partly_cached(cache.path(), "BertModel");
    let error = fetch("org/part", None, &offline).await.unwrap_err();
    assert!(matches!(&error, HubError::NotCached { .. }), "{error:?}");

    // It looked for modules.json and there is none.
    let noted = repo.join(".no_exist").join(COMMIT);
    std::fs::create_dir_all(&noted).unwrap();
    std::fs::write(noted.join("modules.json"), b"").unwrap();
    fetch("org/part", None, &offline).await.unwrap();
    std::fs::remove_dir_all(repo.join(".no_exist")).unwrap();

    // modules.json is there, and what it names is not; then it is.
    let folder = repo.join("snapshots").join(COMMIT);
    let modules = r#"[{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]"#;
    std::fs::write(folder.join("modules.json"), modules).unwrap();
    assert!(fetch("org/part", None, &offline).await.is_err());
    std::fs::create_dir_all(folder.join("1_Pooling")).unwrap();
    std::fs::write(folder.join("1_Pooling/config.json"), b"{}").unwrap();
    // Nobody looked for the settings yet: the repository may have them.
    assert!(fetch("org/part", None, &offline).await.is_err());
    std::fs::create_dir_all(&noted).unwrap();
    for file in ["config_sentence_transformers.json", "tokenizer_config.json"] {
        std::fs::write(noted.join(file), b"").unwrap();
    }
    assert!(fetch("org/part", None, &offline).await.is_err());
    std::fs::write(folder.join("sentence_bert_config.json"), b"{}").unwrap();
    fetch("org/part", None, &offline).await.unwrap();
}

#[tokio::test]
async fn classifiers_and_whole_snapshots_of_other_tools_are_served_offline() {
    for (architecture, whole) in [("BertForSequenceClassification", false), ("BertModel", true)] {
        let cache = tempfile::tempdir().unwrap();
        let offline = HubOptions { offline: true, cache: Some(cache.path().to_owned()), ..HubOptions::default() };
        let repo = partly_cached(cache.path(), architecture);
        if whole {
            std::fs::write(repo.join("snapshots").join(COMMIT).join(".gitattributes"), b"").unwrap();
        }
        fetch("org/part", None, &offline).await.unwrap();
    }
}
