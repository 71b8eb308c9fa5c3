//! Bodies as known callers send them, replayed.

use serde_json::{Value, json};
use sortie_proto::v1::{RerankRequest, Task, Truncation, TruncationSide};

use crate::{app, defaults_to_embed, fake::Fake, get, post};

fn all() -> Fake {
    Fake::of(&[Task::Rerank, Task::Embed])
}

/// Caller, path, body, where the answer's list is, and its length.
fn bodies() -> Vec<(&'static str, &'static str, Value, &'static str, usize)> {
    let texts = json!(["d1", "d3", "d2"]);
    vec![
        ("Dify rerank", "/rerank", json!({"query": "q", "texts": texts, "return_text": true}), "", 3),
        ("Dify embeddings, without a model", "/v1/embeddings", json!({"input": ["a", "b"]}), "/data", 2),
        ("Dify tokenize", "/tokenize", json!({"inputs": ["a b", "c"]}), "", 2),
        (
            "Open WebUI rerank",
            "/rerank",
            json!({"model": "rerank", "query": "q", "documents": texts, "top_n": 3}),
            "/results",
            3,
        ),
        ("Open WebUI embeddings", "/v1/embeddings", json!({"input": ["a"], "model": "embed"}), "/data", 1),
        (
            "Elasticsearch rerank",
            "/rerank",
            json!({"texts": texts, "query": "q", "return_text": false, "top_n": 2}),
            "",
            2,
        ),
        (
            "Milvus rerank",
            "/rerank",
            json!({"query": "q", "texts": texts, "truncate": true, "truncation_direction": "Left"}),
            "",
            3,
        ),
        (
            "Weaviate rerank",
            "/weaviate/rerank",
            json!({"query": "q", "documents": texts, "property": ""}),
            "/scores",
            3,
        ),
        (
            "Weaviate vectors",
            "/weaviate/vectors",
            json!({"text": "a", "dims": 0, "vector": null, "error": "", "config": {"pooling_strategy": "masked_mean", "task_type": "passage"}}),
            "/vector",
            8,
        ),
        (
            "LiteLLM huggingface rerank",
            "/rerank",
            json!({"query": "q", "texts": texts, "raw_scores": false, "truncate": false, "truncation_direction": "Right"}),
            "",
            3,
        ),
        (
            "LiteLLM hosted_vllm rerank",
            "/rerank",
            json!({"model": "rerank", "query": "q", "documents": texts, "top_n": 2, "max_tokens_per_doc": null}),
            "/results",
            2,
        ),
        (
            "LiteLLM embeddings",
            "/v1/embeddings",
            json!({"input": ["a"], "model": "embed", "encoding_format": null, "user": null}),
            "/data",
            1,
        ),
        ("llama-index TEI embeddings", "/embed", json!({"inputs": ["a", "b"], "truncate": true}), "", 2),
        ("llama-index TEI rerank", "/rerank", json!({"query": "q", "texts": texts}), "", 3),
        ("Haystack TEI ranker", "/rerank", json!({"query": "q", "texts": texts, "raw_scores": false}), "", 3),
        (
            "Cohere SDK v2",
            "/v2/rerank",
            json!({"model": "rerank", "query": "q", "documents": texts, "top_n": 1}),
            "/results",
            1,
        ),
        (
            "Cohere SDK v1",
            "/v1/rerank",
            json!({"model": "rerank", "query": "q", "documents": [{"text": "d1"}, {"text": "d2"}], "rank_fields": ["text"],
                "return_documents": true}),
            "/results",
            2,
        ),
        ("huggingface_hub feature extraction", "/", json!({"model": "embed", "inputs": "a", "truncate": true}), "", 1),
        ("Chroma", "/embed", json!({"inputs": ["a"]}), "", 1),
        (
            "Voyage SDK",
            "/v1/embeddings",
            json!({"input": ["a"], "model": "embed", "input_type": "query", "truncation": true, "encoding_format": "base64"}),
            "/data",
            1,
        ),
    ]
}

#[tokio::test]
async fn every_known_body_has_its_answer() {
    let app = defaults_to_embed(&all());
    for (caller, path, body, list, length) in bodies() {
        let answer = post(&app, path, body).await;
        assert_eq!(answer.status, 200, "{caller}: {answer:?}");
        let found = answer.body.pointer(list).and_then(Value::as_array).map(Vec::len);
        assert_eq!(found, Some(length), "{caller}: {answer:?}");
    }
}

#[tokio::test]
async fn dify_reads_the_kind_and_the_limits_of_a_model() {
    let fake = Fake::of(&[Task::Rerank]);
    let info = get(&app(&fake), "/info").await;
    assert_eq!(info.status, 200, "{info:?}");
    assert_eq!(info.body["model_type"].as_object().unwrap().keys().next().unwrap(), "reranker");
    assert_eq!((&info.body["max_input_length"], &info.body["max_client_batch_size"]), (&json!(64), &json!(10_000)));
    let embed = get(&app(&Fake::of(&[Task::Embed])), "/info").await;
    assert_eq!(embed.body["model_type"], json!({"embedding": {"pooling": "mean"}}));
    assert_eq!(embed.body["model_dtype"], "float16");
}

#[tokio::test]
async fn milvus_cuts_left_and_litellm_does_not_cut() {
    let fake = Fake::of(&[Task::Rerank]);
    let app = app(&fake);
    let milvus = json!({"query": "q", "texts": ["a"], "truncate": true, "truncation_direction": "Left"});
    post(&app, "/rerank", milvus).await;
    post(&app, "/rerank", json!({"query": "q", "texts": ["a"], "truncate": false})).await;
    let sent: Vec<RerankRequest> = fake.messages("Rerank").await;
    let options: Vec<_> = sent.iter().map(|request| request.options.clone().unwrap()).collect();
    assert_eq!(options[0].truncation(), Truncation::LongestFirst);
    assert_eq!(options[0].truncation_side(), TruncationSide::Left);
    assert_eq!(options[1].truncation(), Truncation::Error);
}
