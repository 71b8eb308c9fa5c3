//! `null` is absence in every optional field of every route, as the OpenAPI document lists them.

use serde_json::{Map, Value, json};
use sortie_proto::v1::Task;

use crate::{defaults_to_embed, fake::Fake, get, post};

/// A body that each route takes.
fn body_of(path: &str) -> Value {
    match path {
        "/rerank" | "/v2/rerank" => json!({"query": "q", "documents": ["d1", "d2"]}),
        "/v1/embeddings" | "/classify" => json!({"input": ["a b", "c"]}),
        "/v2/embed" => json!({"texts": ["a b", "c"]}),
        "/score" => json!({"text_1": "q", "text_2": ["d1", "d2"]}),
        "/embed" | "/embed_all" | "/embed_sparse" | "/tokenize" => json!({"inputs": ["a b", "c"]}),
        "/predict" => json!({"inputs": [["a"], ["b", "c"]]}),
        "/tag" => json!({"inputs": ["Ada", "b"], "model": "tag"}),
        "/similarity" => json!({"inputs": {"source_sentence": "a", "sentences": ["b", "a"]}}),
        "/decode" => json!({"ids": [[1, 2], [3]]}),
        "/" | "/invocations" => json!({"model": "embed", "inputs": "a"}),
        "/vertex" => json!({"instances": [{"model": "embed", "inputs": "a"}, {"model": "classify", "inputs": "b"}]}),
        "/weaviate/rerank" => json!({"query": "q", "documents": ["d1", "d2"]}),
        "/weaviate/vectors" => json!({"text": "a"}),
        other => panic!("no body for {other}"),
    }
}

/// The schema that a reference leads to.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => resolved(document, document.pointer(reference.trim_start_matches('#')).unwrap()),
        None => schema,
    }
}

/// Without what is new in every answer.
fn settled(mut body: Value) -> Value {
    if let Value::Object(map) = &mut body {
        map.remove("id");
        map.remove("created");
    }
    body
}

#[tokio::test]
async fn null_is_absence_in_every_optional_field() {
    let tasks = [Task::Rerank, Task::Classify, Task::Embed, Task::EmbedSparse, Task::LateInteraction, Task::Tag];
    let app = defaults_to_embed(&Fake::of(&tasks));
    let document = get(&app, "/api-doc/openapi.json").await.body;
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let schema = &item["post"]["requestBody"]["content"]["application/json"]["schema"];
        if schema.is_null() {
            continue;
        }
        let properties = resolved(&document, schema)["properties"].as_object().unwrap();
        let body: Map<String, Value> = body_of(path).as_object().unwrap().clone();
        let plain = post(&app, path, Value::Object(body.clone())).await;
        assert_eq!(plain.status, 200, "{path}: {plain:?}");
        let absent: Vec<_> = properties.keys().filter(|name| !body.contains_key(*name)).collect();
        let mut every = body.clone();
        for name in absent {
            let mut with = body.clone();
            with.insert(name.clone(), Value::Null);
            every.insert(name.clone(), Value::Null);
            let answer = post(&app, path, Value::Object(with)).await;
            assert_eq!(answer.status, 200, "{path} with {name}: null: {answer:?}");
            assert_eq!(settled(answer.body), settled(plain.body.clone()), "{path} with {name}: null");
            tried += 1;
        }
        // Unknown fields change nothing either.
        every.insert("priority".to_owned(), json!({"deep": [1, null, "x"]}));
        every.insert("user".to_owned(), json!("somebody"));
        let answer = post(&app, path, Value::Object(every)).await;
        assert_eq!(settled(answer.body), settled(plain.body), "{path} with all of them");
    }
    assert!(tried > 80, "only {tried} fields were tried");
}
