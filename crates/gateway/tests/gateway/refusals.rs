//! What is refused, by whom, and in which words.

use std::time::Duration;

use sortie_proto::{metadata::PUSHBACK, v1};
use sortie_testkit::{ClosedPort, Reply, texts};
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::support::{Running, config, fleet, inputs, rerank, text};

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}

#[tokio::test]
async fn a_servers_refusal_is_passed_on_with_its_details_and_places_in_the_whole_job() {
    let servers = fleet(4).await;
    let (_gateway, mut stub) = Running::ready(config(&servers)).await;
    for server in &servers {
        server.always(Reply::refuse(|| {
            let mut details = ErrorDetails::new();
            let facts = std::collections::HashMap::from([("limit".to_owned(), "8".to_owned())]);
            details.set_error_info("BAD_FIELD", "sortie", facts);
            details.add_bad_request_violation("documents[0].tokens", "documents[0].tokens: makes no sense");
            Status::with_error_details(Code::InvalidArgument, "documents[0].tokens: makes no sense", details)
        }));
    }
    let error = stub.rerank(rerank(&texts(1, 100))).await.unwrap_err();
    assert_eq!(reason(&error), (Code::InvalidArgument, "BAD_FIELD".to_owned()));
    assert_eq!(error.get_details_error_info().unwrap().metadata["limit"], "8");
    let field = error.get_details_bad_request().unwrap().field_violations.remove(0).field;
    // The first of its chunk, wherever that was in the job.
    assert!(field.starts_with("documents[") && field.ends_with("].tokens"), "{field}");
    assert!(error.message().contains(&field), "{error}");
}

#[tokio::test]
async fn a_full_fleet_says_when_to_come_again() {
    let servers = fleet(1).await;
    let (_gateway, mut stub) = Running::ready(config(&servers)).await;
    servers[0].always(Reply::refuse(|| {
        let mut details = ErrorDetails::new();
        details.set_error_info("QUEUE_FULL", "sortie", std::collections::HashMap::new());
        let mut status = Status::with_error_details(Code::ResourceExhausted, "the queue is full", details);
        status.metadata_mut().insert(PUSHBACK, 60_000.into());
        status
    }));
    let mut request = Request::new(rerank(&texts(1, 3)));
    request.set_timeout(Duration::from_secs(20));
    let error = stub.rerank(request).await.unwrap_err();
    assert_eq!(reason(&error), (Code::ResourceExhausted, "QUEUE_FULL".to_owned()));
    assert_eq!(error.metadata().get(PUSHBACK).unwrap(), "60000");
    assert_eq!(error.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn what_is_plainly_wrong_is_refused_without_asking_a_server() {
    let servers = fleet(2).await;
    let (_gateway, mut stub) = Running::ready(config(&servers)).await;
    let error = stub.rerank(rerank(&[])).await.unwrap_err();
    assert_eq!(reason(&error), (Code::InvalidArgument, "EMPTY_LIST".to_owned()));
    let message = v1::RerankRequest { query: Some(text("")), ..rerank(&texts(1, 2)) };
    assert_eq!(reason(&stub.rerank(message).await.unwrap_err()).1, "EMPTY_QUERY");
    let mut request = Request::new(rerank(&texts(1, 2)));
    request.metadata_mut().insert("sortie-lane", "express".parse().unwrap());
    assert_eq!(reason(&stub.rerank(request).await.unwrap_err()).1, "BAD_METADATA");
    assert!(servers.iter().all(|server| server.calls().is_empty()));
}

#[tokio::test]
async fn a_fleet_that_is_not_there_is_unavailable() {
    let closed = ClosedPort::new().unwrap();
    let mut config = config(&[]);
    config.endpoint = vec![closed.address()];
    let gateway = Running::start(config).await;
    let mut stub = gateway.stub().await;
    let mut request = Request::new(rerank(&texts(1, 2)));
    request.set_timeout(Duration::from_secs(20));
    let error = stub.rerank(request).await.unwrap_err();
    assert_eq!(reason(&error), (Code::Unavailable, "NO_SERVER".to_owned()));
    let error = stub.get_model(v1::GetModelRequest::default()).await.unwrap_err();
    assert_eq!(reason(&error), (Code::Unavailable, "NO_SERVER".to_owned()));
}

#[tokio::test]
async fn a_key_that_the_servers_do_not_take_is_no_fault_of_the_caller() {
    let servers = fleet(1).await;
    let (_gateway, mut stub) = Running::ready(config(&servers)).await;
    servers[0].always(Reply::refuse(|| Status::unauthenticated("the key is not known")));
    let error = stub.rerank(rerank(&texts(1, 2))).await.unwrap_err();
    assert_eq!(reason(&error), (Code::Internal, "GATEWAY_KEY".to_owned()));
}

#[tokio::test]
async fn an_answer_over_the_limit_is_refused_with_its_size() {
    let servers = fleet(1).await;
    let mut config = config(&servers);
    config.frontend.max_message_bytes = 10_000;
    config.frontend.max_connection_bytes = 1 << 20;
    let (_gateway, mut stub) = Running::ready(config).await;
    // Small texts, large answers: places and names of tokens.
    let inputs = inputs(&vec!["x".to_owned(); 900]);
    let error = stub.tokenize(v1::TokenizeRequest { inputs, ..Default::default() }).await.unwrap_err();
    assert_eq!(reason(&error), (Code::InvalidArgument, "ANSWER_TOO_LARGE".to_owned()));
    let error = stub.rerank(rerank(&["x".repeat(20_000)])).await.unwrap_err();
    assert_eq!(reason(&error), (Code::OutOfRange, "MESSAGE_TOO_LARGE".to_owned()));
}
