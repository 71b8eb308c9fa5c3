//! Statuses, forms and headers of what fails.

use std::collections::BTreeMap;

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use sortie_http::HttpOptions;
use sortie_proto::v1::Task;
use tonic::{Code, Status};

use crate::{
    HttpAnswer, app,
    fake::{Fake, refusal},
    post, post_request, send, with_options,
};

/// A route of each dialect with a body it takes.
fn dialects() -> Vec<(&'static str, Value)> {
    vec![
        ("/embed", json!({"inputs": "a"})),
        ("/v1/embeddings", json!({"input": "a"})),
        ("/v2/embed", json!({"texts": ["a"]})),
        ("/weaviate/vectors", json!({"text": "a"})),
    ]
}

async fn refused(status: Status) -> Vec<HttpAnswer> {
    let fake = Fake { refusal: Some(status), ..Fake::of(&[Task::Embed]) };
    let app = app(&fake);
    let mut answers = Vec::new();
    for (path, body) in dialects() {
        answers.push(post(&app, path, body).await);
    }
    answers
}

fn statuses(answers: &[HttpAnswer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status.as_u16()).collect()
}

#[tokio::test]
async fn every_reason_has_its_status_and_its_words() {
    use Code::*;
    // Reason, code, TEI's status and type, the others' status.
    for (code, reason, tei, kind, others) in [
        (InvalidArgument, "EMPTY_LIST", 400, "Empty", 400),
        (InvalidArgument, "EMPTY_QUERY", 400, "Empty", 400),
        (InvalidArgument, "BAD_FIELD", 422, "Validation", 400),
        (InvalidArgument, "BAD_METADATA", 422, "Validation", 400),
        (InvalidArgument, "BAD_MAX_LENGTH", 422, "Validation", 400),
        (InvalidArgument, "BAD_DIMENSIONS", 422, "Validation", 400),
        (InvalidArgument, "UNKNOWN_PROMPT", 422, "Validation", 400),
        (InvalidArgument, "QUERY_TOO_LONG", 422, "Validation", 400),
        (InvalidArgument, "TOO_MANY_ITEMS", 422, "Validation", 400),
        (InvalidArgument, "CHUNK_TOO_LARGE", 422, "Validation", 400),
        (InvalidArgument, "ANSWER_TOO_LARGE", 422, "Validation", 400),
        (OutOfRange, "MESSAGE_TOO_LARGE", 413, "Validation", 413),
        (NotFound, "UNKNOWN_MODEL", 404, "Validation", 404),
        (InvalidArgument, "MODEL_NOT_NAMED", 400, "Validation", 400),
        (FailedPrecondition, "WRONG_TASK", 424, "Backend", 400),
        (ResourceExhausted, "QUEUE_FULL", 429, "Overloaded", 429),
        (ResourceExhausted, "TOO_MANY_CHUNKS", 429, "Overloaded", 429),
        (ResourceExhausted, "TOO_MANY_REQUESTS", 429, "Overloaded", 429),
        (ResourceExhausted, "WAIT_TOO_LONG", 429, "Overloaded", 429),
        (ResourceExhausted, "DEADLINE_TOO_SHORT", 504, "Backend", 504),
        (DeadlineExceeded, "DEADLINE_EXCEEDED", 504, "Backend", 504),
        (Unavailable, "DRAINING", 503, "Unhealthy", 503),
        (Unavailable, "BACKEND_GONE", 503, "Unhealthy", 503),
        (Internal, "RUN_FAILED", 424, "Backend", 500),
        (Internal, "INTERNAL", 424, "Backend", 500),
        // Reasons that nobody has heard of go by their code.
        (Unavailable, "NEW_WORD", 503, "Unhealthy", 503),
        (InvalidArgument, "", 422, "Validation", 400),
        (Unknown, "", 424, "Backend", 500),
        (Unimplemented, "", 424, "Backend", 501),
    ] {
        let status = match reason {
            "" => Status::new(code, "no details"),
            reason => refusal(code, reason, None),
        };
        let answers = refused(status).await;
        assert_eq!(statuses(&answers), [tei, others, others, others], "{reason} {code:?}");
        assert_eq!(answers[0].body["error_type"], kind, "{reason}");
        assert!(answers[0].body["error"].is_string() && answers[2].body["message"].is_string(), "{reason}");
        assert!(answers[1].body["error"]["message"].is_string() && answers[3].body["error"].is_string(), "{reason}");
    }
}

#[tokio::test]
async fn openai_readers_and_tei_readers_both_find_their_fields() {
    let answers = refused(refusal(Code::ResourceExhausted, "QUEUE_FULL", None)).await;
    let body = &answers[1].body;
    assert_eq!(body["error"]["code"], "rate_limit_exceeded");
    assert_eq!((&body["code"], &body["type"]), (&json!(429), &json!("Overloaded")));
    assert_eq!((&body["message"], &body["detail"]), (&body["error"]["message"], &body["error"]["message"]));
}

#[tokio::test]
async fn keys_that_are_missing_or_wrong_are_401_and_tei_says_nothing() {
    let fake = Fake { key: Some("the-key".to_owned()), ..Fake::of(&[Task::Embed]) };
    let app = app(&fake);
    for (path, body) in dialects() {
        let answer = post(&app, path, body).await;
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.body == "", path == "/embed", "{path}: {answer:?}");
    }
    let answer = post(&app, "/v1/embeddings", json!({"input": "a"})).await;
    assert_eq!(answer.body["error"]["code"], "invalid_api_key");
    // Nor is anything told of the models, whatever is kept of them.
    let known = Request::post("/v1/embeddings").header("content-type", "application/json");
    let known = known.header("authorization", "Bearer the-key").body(Body::from(r#"{"input": "a"}"#)).unwrap();
    assert_eq!(send(&app, known).await.status, 200);
    for (path, body) in [("/v1/embeddings", r#"{"input": "a", "model": "x"}"#), ("/embed", r#"{"inputs": "a"}"#)] {
        assert_eq!(send(&app, post_request(path, body)).await.status, 401, "{path}");
    }
    for path in ["/info", "/v1/models", "/v1/models/embed"] {
        assert_eq!(crate::get(&app, path).await.status, 401, "{path}");
    }
    for path in ["/health", "/ping", "/", "/weaviate/.well-known/ready", "/weaviate/meta", "/openapi.json"] {
        assert!(crate::get(&app, path).await.status.is_success(), "{path}");
    }
}

#[tokio::test]
async fn waits_are_said_in_whole_seconds_and_in_milliseconds() {
    let pushed_back = |code, reason, ms: i64| {
        let mut status = refusal(code, reason, None);
        status.metadata_mut().insert("grpc-retry-pushback-ms", ms.into());
        status
    };
    for (status, seconds, ms, again) in [
        (pushed_back(Code::ResourceExhausted, "QUEUE_FULL", 1_200), Some("2"), Some("1200"), None),
        (pushed_back(Code::Unavailable, "DRAINING", 0), Some("1"), Some("0"), None),
        (refusal(Code::Unavailable, "BACKEND_GONE", None), Some("1"), Some("1000"), None),
        (pushed_back(Code::InvalidArgument, "TOO_MANY_ITEMS", -1), None, None, Some("false")),
        (pushed_back(Code::ResourceExhausted, "DEADLINE_TOO_SHORT", -1), None, None, Some("false")),
        (refusal(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", None), None, None, Some("false")),
        (refusal(Code::InvalidArgument, "BAD_FIELD", None), None, None, None),
    ] {
        for answer in refused(status.clone()).await {
            let found =
                (answer.header("retry-after"), answer.header("retry-after-ms"), answer.header("x-should-retry"));
            assert_eq!(found, (seconds, ms, again), "{status:?}");
        }
    }
}

#[tokio::test]
async fn bodies_that_are_no_bodies() {
    let mut options = HttpOptions::default();
    options.max_body_bytes = 1_000;
    let app = with_options(&Fake::of(&[Task::Embed]), options);
    for (path, wrong_type) in [("/embed", 422), ("/v1/embeddings", 400), ("/v2/embed", 400), ("/weaviate/vectors", 400)]
    {
        let typed = |kind: &str, body: &str| {
            Request::post(path).header("content-type", kind).body(Body::from(body.to_owned())).unwrap()
        };
        assert_eq!(send(&app, typed("text/plain", "{}")).await.status, 415, "{path}");
        assert_eq!(send(&app, Request::post(path).body(Body::from("{}")).unwrap()).await.status, 415, "{path}");
        let packed = Request::post(path).header("content-type", "application/json").header("content-encoding", "gzip");
        assert_eq!(send(&app, packed.body(Body::from("{}")).unwrap()).await.status, 415, "{path}");
        assert_eq!(send(&app, typed("application/json", "{\"inputs\":")).await.status, 400, "{path}");
        assert_eq!(send(&app, typed("application/json", "[1]")).await.status, wrong_type, "{path}");
        let long = format!("{{\"inputs\": \"{}\"}}", "x".repeat(2_000));
        let answer = send(&app, typed("application/json", &long)).await;
        assert_eq!(answer.status, 413, "{path}");
        assert!(answer.body.to_string().contains("1000"), "{answer:?}");
    }
    let answer = post(&app, "/v1/embeddings", json!({"input": 7})).await;
    assert_eq!((answer.status.as_u16(), &answer.body["error"]["param"]), (400, &json!("input")));
}

#[tokio::test]
async fn one_bad_item_fails_the_request_with_its_place() {
    for (reason, tei, others) in
        [("TOO_LONG", 422, 400), ("TOKENIZER_FAILED", 422, 400), ("NON_FINITE_OUTPUT", 424, 500)]
    {
        let item_errors = BTreeMap::from([(1, reason), (3, reason)]);
        let fake = Fake { item_errors, ..Fake::of(&[Task::Rerank, Task::Embed]) };
        let app = app(&fake);
        let texts = ["d1", "d2", "d3", "d4"];
        let answer = post(&app, "/rerank", json!({"query": "q", "texts": texts})).await;
        assert_eq!(answer.status, tei);
        let said = answer.body["error"].as_str().unwrap();
        assert!(said.contains("texts[1]") && said.contains("1 more failed"), "{said}");
        let answer = post(&app, "/v1/rerank", json!({"query": "q", "documents": texts})).await;
        assert_eq!((answer.status.as_u16(), &answer.body["error"]["param"]), (others, &json!("documents[1]")));
        let answer = post(&app, "/v1/embeddings", json!({"input": texts})).await;
        assert_eq!((answer.status.as_u16(), &answer.body["error"]["param"]), (others, &json!("input[1]")));
    }
}

#[tokio::test]
async fn numbers_that_are_none_never_leave() {
    let tasks = [Task::Rerank, Task::Classify, Task::Embed, Task::EmbedSparse];
    let fake = Fake { not_numbers: vec![1], ..Fake::of(&tasks) };
    let app = app(&fake);
    for (path, body, status) in [
        ("/rerank", json!({"query": "q", "texts": ["a", "b"]}), 424),
        ("/v1/rerank", json!({"query": "q", "documents": ["a", "b"]}), 500),
        ("/score", json!({"text_1": "q", "text_2": ["a", "b"]}), 500),
        ("/score", json!({"text_1": ["q", "r"], "text_2": ["a", "b"]}), 500),
        ("/embed", json!({"inputs": ["a", "b"]}), 424),
        ("/embed_all", json!({"inputs": ["a", "b"]}), 424),
        ("/embed_sparse", json!({"inputs": ["a", "b"]}), 424),
        ("/v1/embeddings", json!({"input": ["a", "b"], "encoding_format": "base64"}), 500),
        ("/predict", json!({"inputs": [["a"], ["b"]]}), 424),
        ("/classify", json!({"input": ["a", "b"]}), 500),
        ("/similarity", json!({"inputs": {"source_sentence": "a", "sentences": ["a", "b"]}}), 424),
        ("/v2/embed", json!({"texts": ["a", "b"], "embedding_types": ["ubinary"]}), 500),
        ("/weaviate/rerank", json!({"query": "q", "documents": ["a", "b"]}), 500),
    ] {
        let answer = post(&app, path, body).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.body.to_string().contains("[1]"), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn what_would_change_the_answer_and_is_not_served_is_refused_by_name() {
    let app = app(&Fake::of(&[Task::Rerank, Task::Embed, Task::Classify]));
    for (path, mut body, field, value) in [
        ("/rerank", json!({"query": "q", "documents": ["a"]}), "instruction", json!("be kind")),
        ("/rerank", json!({"query": "q", "documents": ["a"]}), "chat_template_kwargs", json!({"x": 1})),
        ("/rerank", json!({"query": "q", "documents": ["a"]}), "truncation_side", json!("middle")),
        ("/rerank", json!({"query": "q", "documents": ["a"]}), "truncate_prompt_tokens", json!(0)),
        ("/rerank", json!({"query": "q", "texts": ["a"]}), "truncation_direction", json!("up")),
        ("/rerank", json!({"query": "q", "texts": ["a"]}), "prompt_name", json!("query")),
        ("/v1/embeddings", json!({"input": "a"}), "encoding_format", json!("bytes")),
        ("/v1/embeddings", json!({"input": "a"}), "embed_dtype", json!("float16")),
        ("/v1/embeddings", json!({"input": "a"}), "endianness", json!("big")),
        ("/v1/embeddings", json!({"input": "a"}), "output_dtype", json!("int8")),
        ("/v1/embeddings", json!({"input": "a"}), "add_special_tokens", json!(false)),
        ("/v1/embeddings", json!({"input": "a"}), "dimensions", json!(0)),
        ("/v1/embeddings", json!({"input": "a"}), "input_type", json!("poem")),
        ("/v1/embeddings", json!({"input": "a"}), "messages", json!([])),
        ("/embed", json!({"inputs": "a"}), "dimensions", json!(-1)),
        ("/v2/embed", json!({"texts": ["a"]}), "images", json!(["x"])),
        ("/v2/embed", json!({"texts": ["a"]}), "embedding_types", json!(["int8"])),
        ("/v2/embed", json!({"texts": ["a"]}), "truncate", json!("MIDDLE")),
        ("/v2/embed", json!({"texts": ["a"]}), "input_type", json!("image")),
        ("/classify", json!({"input": ["a"]}), "messages", json!([])),
    ] {
        body[field] = value;
        let answer = post(&app, path, body).await;
        let expected = if path == "/embed" || answer.body["error_type"].is_string() { 422 } else { 400 };
        assert_eq!(answer.status, expected, "{path} {field}: {answer:?}");
        assert!(answer.body.to_string().contains(field), "{path} {field}: {answer:?}");
    }
}

#[tokio::test]
async fn a_document_that_is_no_text_is_named() {
    let app = app(&Fake::of(&[Task::Rerank]));
    let documents = json!(["a", {"text": "b", "image": "c.png"}]);
    let answer = post(&app, "/v1/rerank", json!({"query": "q", "documents": documents})).await;
    assert_eq!(answer.status, 400);
    let said = answer.body["message"].as_str().unwrap();
    assert!(said.contains("documents[1]") && said.contains("image"), "{said}");
    for query in ["", "  \n"] {
        let answer = post(&app, "/v2/rerank", json!({"query": query, "documents": ["a"]})).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    let empty = post(&app, "/v1/embeddings", json!({"input": ["a", ""]})).await;
    assert_eq!(empty.status, 400);
    // Documents without a word are documents.
    let answer = post(&app, "/rerank", json!({"query": "q", "texts": ["", "a"]})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}
