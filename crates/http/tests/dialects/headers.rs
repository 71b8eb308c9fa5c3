//! Headers, both ways, and what hangs on them.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use axum::body::Body;
use http::Request;
use serde_json::json;
use sortie_proto::v1::Task;

use crate::{HttpAnswer, app, fake::Fake, post, send};

async fn rerank_with(fake: &Fake, headers: &[(&str, &str)]) -> HttpAnswer {
    let mut request = Request::post("/v1/rerank").header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = json!({"query": "q", "documents": ["d1", "d2", "d3", "d4"]});
    send(&app(fake), request.body(Body::from(body.to_string())).unwrap()).await
}

/// What the last call carried.
async fn carried(fake: &Fake, name: &str) -> Option<String> {
    let seen = fake.seen.lock().await;
    let value = seen.last().unwrap().metadata.get(name)?;
    Some(value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn who_calls_goes_on() {
    for (header, value, name, carried_value) in [
        ("authorization", "Bearer k", "authorization", "Bearer k"),
        ("authorization", "bare-key", "x-api-key", "bare-key"),
        ("authorization", "Basic bWU6azE=", "x-api-key", "k1"),
        ("x-api-key", "k", "x-api-key", "k"),
        ("api-key", "k", "x-api-key", "k"),
        ("traceparent", "00-a-b-01", "traceparent", "00-a-b-01"),
        ("x-request-id", "job 7", "sortie-job-id", "job 7"),
        ("x-sortie-lane", "bulk", "sortie-lane", "bulk"),
    ] {
        let fake = Fake::of(&[Task::Rerank]);
        let answer = rerank_with(&fake, &[(header, value)]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(carried(&fake, name).await.as_deref(), Some(carried_value), "{header}: {value}");
        assert_eq!(carried(&fake, "sortie-model").await.as_deref(), Some("rerank"));
        assert_eq!(carried(&fake, "sortie-tokens").await, None);
    }
}

#[tokio::test]
async fn ids_come_back_and_are_made_where_none_came() {
    let fake = Fake::of(&[Task::Rerank]);
    assert_eq!(rerank_with(&fake, &[("x-request-id", "mine")]).await.header("x-request-id"), Some("mine"));
    let made = rerank_with(&fake, &[]).await;
    assert_eq!(carried(&fake, "sortie-job-id").await.as_deref(), made.header("x-request-id"));
    let long = "x".repeat(129);
    assert_ne!(rerank_with(&fake, &[("x-request-id", &long)]).await.header("x-request-id"), Some(long.as_str()));
    let refused = rerank_with(&fake, &[("x-request-id", "mine"), ("x-sortie-lane", "express")]).await;
    assert_eq!((refused.status.as_u16(), refused.header("x-request-id")), (400, Some("mine")));
}

#[tokio::test(start_paused = true)]
async fn the_smallest_patience_is_the_deadline() {
    let fake = Fake::of(&[Task::Rerank]);
    let headers =
        [("x-stainless-read-timeout", "600"), ("x-envoy-expected-rq-timeout-ms", "1500"), ("request-timeout", "0")];
    rerank_with(&fake, &headers).await;
    // The clock stands still, so all of it is left.
    assert_eq!(carried(&fake, "grpc-timeout").await.as_deref(), Some("1500000u"));
    rerank_with(&fake, &[("request-timeout", "nonsense")]).await;
    assert_eq!(carried(&fake, "grpc-timeout").await, None);
}

#[tokio::test]
async fn the_answer_says_what_it_took() {
    let answer = rerank_with(&Fake::of(&[Task::Rerank]), &[]).await;
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-compute-type", "cpu"),
        ("x-compute-tokens", "20"),
        ("x-compute-characters", "12"),
        ("x-tokenization-time", "1"),
        ("x-queue-time", "2"),
        ("x-inference-time", "30"),
        ("server-timing", "tokenize;dur=1.5, queue;dur=2, compute;dur=30, total;dur=40"),
        ("x-sortie-scoring", "cross_encoder"),
        ("x-sortie-replica", "replica-1"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert!(answer.header("x-total-time").unwrap().parse::<u64>().is_ok());
    assert_eq!(answer.header("x-sortie-truncated"), None);
    let load = answer.header("endpoint-load-metrics").unwrap().strip_prefix("JSON ").unwrap();
    let load: serde_json::Value = serde_json::from_str(load).unwrap();
    assert_eq!(load, json!({"application_utilization": 0.5, "rps_fractional": 12.25, "eps": 0.0}));
}

#[tokio::test]
async fn what_was_cut_is_said() {
    let app = app(&Fake::of(&[Task::Rerank, Task::Embed]));
    let long = "word ".repeat(100);
    let answer = post(&app, "/v1/rerank", json!({"query": "q", "documents": ["a", long, "b", long]})).await;
    assert_eq!(
        (answer.header("x-sortie-truncated"), answer.header("x-sortie-truncated-count")),
        (Some("1,3"), Some("2"))
    );
    assert_eq!(answer.body["meta"]["warnings"][0], "2 documents were cut to fit the model");
    let many = post(&app, "/v1/embeddings", json!({"input": vec![long.as_str(); 100]})).await;
    assert_eq!(many.header("x-sortie-truncated-count"), Some("100"));
    assert_eq!(many.header("x-sortie-truncated").unwrap().split(',').count(), 32);
    let whole = post(&app, "/rerank", json!({"query": "q", "texts": ["a", long], "truncate": false})).await;
    assert!(whole.status == 422 && whole.body["error"].as_str().unwrap().contains("texts[1]"), "{whole:?}");
}

#[tokio::test]
async fn partial_answers_are_given_to_those_who_ask() {
    let item_errors = BTreeMap::from([(0, "TOO_LONG"), (2, "RUN_FAILED")]);
    let fake = Fake { item_errors, ..Fake::of(&[Task::Rerank]) };
    let answer = rerank_with(&fake, &[("x-sortie-partial", "allow")]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-sortie-coverage"), Some("0.5"));
    let results = answer.body["results"].as_array().unwrap();
    assert_eq!(results.iter().map(|entry| entry["index"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(rerank_with(&fake, &[]).await.status, 400);
    assert_eq!(rerank_with(&fake, &[("x-sortie-partial", "maybe")]).await.status, 400);
    // Nothing at all is no partial answer.
    let item_errors = (0..4).map(|index| (index, "RUN_FAILED")).collect();
    let fake = Fake { item_errors, ..Fake::of(&[Task::Rerank]) };
    assert_eq!(rerank_with(&fake, &[("x-sortie-partial", "allow")]).await.status, 500);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_closes_drops_the_call() {
    let fake = Fake { delay: Duration::from_secs(60), ..Fake::of(&[Task::Rerank]) };
    let call = rerank_with(&fake, &[]);
    assert!(tokio::time::timeout(Duration::from_secs(1), call).await.is_err());
    tokio::time::sleep(Duration::from_secs(600)).await;
    // The list of models was answered; the rerank came and never ended.
    assert_eq!(fake.messages::<sortie_proto::v1::RerankRequest>("Rerank").await.len(), 1);
    assert_eq!(fake.ended.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn facts_are_asked_for_once_in_a_while() {
    let fake = Fake::of(&[Task::Rerank]);
    let app = app(&fake);
    let body = || json!({"query": "q", "texts": ["a"]});
    for _ in 0..10 {
        assert_eq!(post(&app, "/rerank", body()).await.status, 200);
    }
    let asked = || async { fake.seen.lock().await.iter().filter(|seen| seen.rpc == "ListModels").count() };
    assert_eq!(asked().await, 1);
    tokio::time::sleep(Duration::from_secs(6)).await;
    post(&app, "/rerank", body()).await;
    assert_eq!(asked().await, 2);
    // Before a refusal they are asked for anew.
    post(&app, "/rerank", json!({"query": "q", "texts": ["a"], "model": "unheard-of"})).await;
    assert_eq!(asked().await, 3);
}
