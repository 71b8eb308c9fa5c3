//! What hurts users of other servers, one test a trap.

use futures::future::join_all;
use serde_json::{Value, json};
use sortie_http::HttpOptions;
use sortie_proto::v1::Task;

use crate::{app, fake::Fake, post, with_options};

fn documents(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("d{}", (index * 7_919) % count)).collect()
}

#[tokio::test]
async fn more_than_32_documents_are_all_ranked_in_every_dialect() {
    let fake = Fake::of(&[Task::Rerank]);
    let app = app(&fake);
    for count in [33, 500, 1_316] {
        let documents = documents(count);
        for (path, field, list) in [
            ("/rerank", "texts", ""),
            ("/rerank", "documents", "/results"),
            ("/v1/rerank", "documents", "/results"),
            ("/v2/rerank", "documents", "/results"),
            ("/score", "documents", "/data"),
            ("/weaviate/rerank", "documents", "/scores"),
        ] {
            let query = if path == "/score" { "queries" } else { "query" };
            let answer = post(&app, path, json!({query: "what", field: documents})).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            let ranked = answer.body.pointer(list).unwrap().as_array().unwrap();
            assert_eq!(ranked.len(), count, "{path}");
        }
    }
}

#[tokio::test]
async fn texts_and_documents_are_told_apart_on_every_path() {
    let app = app(&Fake::of(&[Task::Rerank]));
    for path in ["/rerank", "/v1/rerank", "/v2/rerank"] {
        let tei = post(&app, path, json!({"query": "q", "texts": ["d1", "d2"]})).await;
        assert_eq!(tei.body[0]["index"], 1, "{path}: {tei:?}");
        let others = post(&app, path, json!({"query": "q", "documents": ["d1", "d2"]})).await;
        assert_eq!(others.body["results"][0]["index"], 1, "{path}: {others:?}");
        for body in [json!({"query": "q"}), json!({"query": "q", "texts": ["a"], "documents": ["a"]})] {
            let refused = post(&app, path, body).await;
            let said = refused.body["message"].as_str().unwrap();
            assert!(
                refused.status == 422 && said.contains("texts") && said.contains("documents"),
                "{path}: {refused:?}"
            );
        }
    }
}

#[tokio::test]
async fn encoding_format_null_is_no_encoding_format() {
    let app = app(&Fake::of(&[Task::Embed]));
    let plain = post(&app, "/v1/embeddings", json!({"input": "a", "model": "embed"})).await;
    let null = post(&app, "/v1/embeddings", json!({"input": "a", "model": "embed", "encoding_format": null})).await;
    assert_eq!((null.status.as_u16(), &null.body), (200, &plain.body));
}

#[tokio::test]
async fn base64_asked_unasked_is_the_same_numbers() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    let app = app(&Fake::of(&[Task::Embed]));
    let body = |format: &str| json!({"input": ["a b", "c"], "model": "embed", "encoding_format": format});
    let floats = post(&app, "/v1/embeddings", body("float")).await;
    let packed = post(&app, "/v1/embeddings", body("base64")).await;
    for index in 0..2 {
        let bytes = STANDARD.decode(packed.body["data"][index]["embedding"].as_str().unwrap()).unwrap();
        let numbers: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let written: Vec<f32> = serde_json::from_value(floats.body["data"][index]["embedding"].clone()).unwrap();
        assert_eq!(numbers, written);
    }
}

#[tokio::test]
async fn tiktoken_ids_are_refused_with_their_cure() {
    let fake = Fake::of(&[Task::Embed]);
    for input in [json!([[9906, 1917]]), json!([9906, 1917])] {
        let refused = post(&app(&fake), "/v1/embeddings", json!({"input": input, "model": "embed"})).await;
        assert_eq!((refused.status.as_u16(), &refused.body["error"]["param"]), (400, &json!("input")));
        assert!(refused.body["error"]["message"].as_str().unwrap().contains("check_embedding_ctx_length=False"));
        let mut options = HttpOptions::default();
        options.allow_token_ids = true;
        let taken = post(&with_options(&fake, options), "/v1/embeddings", json!({"input": input})).await;
        assert_eq!(taken.status, 200, "{taken:?}");
        // With the special tokens that the ids came without.
        assert_eq!(taken.body["usage"]["prompt_tokens"], 4);
    }
}

#[tokio::test]
async fn one_text_per_request_and_a_thousand_at_once() {
    let fake = Fake::of(&[Task::Embed]);
    let app = app(&fake);
    let one = |index: usize| {
        let app = app.clone();
        async move { post(&app, "/v1/embeddings", json!({"input": format!("text {index}"), "model": "embed"})).await }
    };
    let answers = join_all((0..1_000).map(one)).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(fake.messages::<sortie_proto::v1::EmbedRequest>("Embed").await.len(), 1_000);
}

#[tokio::test]
async fn exact_url_or_appended_path_with_or_without_v1() {
    let app = app(&Fake::of(&[Task::Rerank, Task::Embed]));
    for prefix in ["", "/v1", "/v1/v1"] {
        for slash in ["", "/"] {
            let path = |path: &str| format!("{prefix}{path}{slash}");
            let answer = post(&app, &path("/embeddings"), json!({"input": "a"})).await;
            assert_eq!(answer.status, 200, "{prefix}/embeddings{slash}");
            for rerank in ["/rerank", "/v2/rerank"] {
                let answer = post(&app, &path(rerank), json!({"query": "q", "documents": ["a"]})).await;
                assert_eq!(answer.status, 200, "{prefix}{rerank}{slash}");
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_task_says_which_models_would_do() {
    let app = app(&Fake::of(&[Task::Classify, Task::EmbedSparse, Task::Rerank]));
    let tei = post(&app, "/rerank", json!({"query": "q", "texts": ["a"], "model": "classify"})).await;
    assert_eq!((tei.status.as_u16(), &tei.body["error_type"]), (424, &json!("Backend")));
    assert!(tei.body["error"].as_str().unwrap().contains("models that do: rerank"), "{tei:?}");
    let others = post(&app, "/v1/rerank", json!({"query": "q", "documents": ["a"], "model": "embed_sparse"})).await;
    assert_eq!(others.status, 400);
    assert!(others.body["error"]["message"].as_str().unwrap().contains("models that do: rerank"));
    let embed = post(&app, "/embed", json!({"inputs": "a"})).await;
    assert_eq!(embed.status, 424);
}

#[tokio::test]
async fn scores_are_0_to_1_in_every_dialect() {
    let app = app(&Fake::of(&[Task::Rerank]));
    let texts = ["d-9", "d0", "d14", "d3.5"];
    for (path, body, scores) in [
        ("/rerank", json!({"query": "q", "texts": texts}), "score"),
        ("/rerank", json!({"query": "q", "documents": texts}), "relevance_score"),
        ("/v2/rerank", json!({"query": "q", "documents": texts}), "relevance_score"),
        ("/score", json!({"text_1": "q", "text_2": texts}), "score"),
        ("/score", json!({"text_1": texts, "text_2": texts}), "score"),
        ("/weaviate/rerank", json!({"query": "q", "documents": texts}), "score"),
        ("/predict", json!({"inputs": [["q", "d-9"], ["q", "d14"]]}), "score"),
    ] {
        let answer = post(&app, path, body).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let found = numbers(&answer.body, scores);
        assert!(!found.is_empty() && found.iter().all(|score| (0.0..=1.0).contains(score)), "{path}: {found:?}");
    }
}

/// Every number under a key.
fn numbers(value: &Value, key: &str) -> Vec<f64> {
    match value {
        Value::Array(list) => list.iter().flat_map(|value| numbers(value, key)).collect(),
        Value::Object(map) => {
            let own = map.get(key).and_then(Value::as_f64);
            own.into_iter().chain(map.values().flat_map(|value| numbers(value, key))).collect()
        }
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn raw_scores_are_raw_where_they_are_asked_for() {
    let app = app(&Fake::of(&[Task::Rerank]));
    let tei = post(&app, "/rerank", json!({"query": "q", "texts": ["d-9"], "raw_scores": true})).await;
    assert_eq!(tei.body[0]["score"], -9.0);
    let vllm = post(&app, "/v1/rerank", json!({"query": "q", "documents": ["d-9"], "use_activation": false})).await;
    assert_eq!(vllm.body["results"][0]["relevance_score"], -9.0);
    let score = post(&app, "/score", json!({"text_1": "q", "text_2": "d-9", "use_activation": false})).await;
    assert_eq!(score.body["data"][0]["score"], -9.0);
}

#[tokio::test]
async fn usage_is_the_tokens_of_the_items() {
    let app = app(&Fake::of(&[Task::Rerank, Task::Embed]));
    // Two words of the query with each document, and three special tokens.
    let body = json!({"query": "two words", "documents": ["one", "and three more"]});
    let ranked = post(&app, "/v1/rerank", body).await;
    assert_eq!(ranked.body["usage"], json!({"prompt_tokens": 14, "total_tokens": 14}));
    assert_eq!(ranked.body["meta"]["tokens"]["input_tokens"], 14);
    assert_eq!(ranked.header("x-compute-tokens"), Some("14"));
    let embedded = post(&app, "/v1/embeddings", json!({"input": ["one", "and three more"]})).await;
    assert_eq!(embedded.body["usage"]["total_tokens"], 8);
}

#[tokio::test]
async fn scores_without_a_form_from_0_to_1_are_given_as_they_are_and_said() {
    for (task, scoring) in [(Task::Embed, "cosine"), (Task::LateInteraction, "maxsim")] {
        let app = app(&Fake::of(&[task]));
        let answer = post(&app, "/v1/rerank", json!({"query": "q", "documents": ["d7"]})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("x-sortie-scoring"), Some(scoring));
        assert_eq!(answer.body["results"][0]["relevance_score"], 7.0);
        assert!(answer.body["meta"]["warnings"][0].as_str().unwrap().contains("not probabilities"));
    }
}
