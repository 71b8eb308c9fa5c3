//! What fails, what is tried again, and when it is over.

use std::time::{Duration, Instant};

use crate::common::{connect, fleet, refuse};
use sortie_client::{Client, ErrorKind};
use sortie_testkit::{Gate, Reply, TestServer, score_of, texts};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

fn push_back(ms: &'static str) -> Reply {
    Reply::refuse(move || {
        let mut status = Status::resource_exhausted("the queue is full");
        status.metadata_mut().insert("grpc-retry-pushback-ms", ms.parse().expect("a number"));
        status
    })
}

#[tokio::test]
async fn a_refused_chunk_goes_to_another_server() {
    for reply in
        [refuse(Code::Unavailable), refuse(Code::ResourceExhausted), refuse(Code::Internal), push_back("60000")]
    {
        let servers = fleet(3).await;
        let client = connect(&servers).await;
        servers[1].always(reply);
        let documents = texts(1, 90);
        let answer = client.rerank("q", &documents).await.unwrap();
        let want: Vec<_> = documents.iter().map(|text| Some(score_of(text))).collect();
        assert_eq!(answer.scores, want);
        assert_eq!((answer.report.attempts, servers[1].calls().len()), (4, 1));
        let again = answer.report.chunks.iter().find(|chunk| chunk.attempt == 2).unwrap();
        assert_ne!(again.endpoint, servers[1].address());
        let call = [&servers[0], &servers[2]].iter().flat_map(|s| s.calls()).find(|call| call.attempt == "2").unwrap();
        assert_eq!(call.job_id, answer.report.job_id);
    }
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_loses_nothing() {
    let mut servers = fleet(3).await;
    let client = connect(&servers).await;
    let gate = Gate::new();
    servers[2].then(Reply::answer().gated(&gate));
    let documents = texts(2, 90);
    let job = tokio::spawn(client.rerank("q", documents.clone()).into_future());
    gate.entered(1).await;
    servers[2].kill().await;
    let answer = job.await.unwrap().unwrap();
    let want: Vec<_> = documents.iter().map(|text| Some(score_of(text))).collect();
    assert_eq!(answer.scores, want);
    assert_eq!(answer.report.attempts, 4);

    // It is passed over for now: the next job does not find out again.
    assert!(!client.stats().endpoints[2].ready);
    let answer = client.rerank("q", &documents).await.unwrap();
    assert_eq!((answer.report.chunks.len(), answer.report.attempts), (2, 2));
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_again() {
    let servers = fleet(1).await;
    let client = connect(&servers).await;
    servers[0].then(Reply::hang_up());
    let answer = client.rerank("q", ["d"]).await.unwrap();
    assert_eq!((answer.scores, answer.report.attempts), (vec![Some(score_of("d"))], 2));
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_asked_for_elsewhere() {
    let servers = fleet(2).await;
    let client = connect(&servers).await;
    servers[0].always(Reply::answer().one_too_few());
    let documents = texts(3, 40);
    let answer = client.rerank("q", &documents).await.unwrap();
    assert!(answer.scores.iter().all(Option::is_some));
    servers[1].always(Reply::answer().one_too_few());
    let error = client.rerank("q", &documents).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}

#[tokio::test]
async fn what_every_server_would_say_is_said_once_with_its_details() {
    let servers = fleet(2).await;
    let client = connect(&servers).await;
    let documents = texts(4, 40);
    servers[1].always(Reply::refuse(|| {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("documents[1].text", "documents[1] is odd");
        details.set_error_info("BAD_FIELD", "sortie", [("limit".to_owned(), "7".to_owned())]);
        Status::with_error_details(Code::InvalidArgument, "documents[1] is odd", details)
    }));
    let error = client.rerank("q", &documents).await.unwrap_err();
    let sent = servers[1].calls().remove(0).texts;
    let place = documents.iter().position(|text| *text == sent[1]).unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(!error.is_retryable());
    assert_eq!(error.violations()[0].field, format!("documents[{place}].text"));
    assert_eq!(error.message(), format!("documents[{place}] is odd"));
    assert_eq!((error.reason(), error.facts()), (Some("BAD_FIELD"), &[("limit".to_owned(), "7".to_owned())][..]));
    assert_eq!(error.endpoint(), Some(servers[1].address().as_str()));
    assert_eq!(error.attempts(), 2);
    assert_eq!(servers[1].calls().len(), 1);
}

#[tokio::test]
async fn one_busy_server_is_asked_again_when_it_said() {
    let servers = fleet(1).await;
    let client = connect(&servers).await;
    servers[0].then(push_back("120"));
    let started = Instant::now();
    let answer = client.rerank("q", ["d"]).await.unwrap();
    assert_eq!(answer.report.attempts, 2);
    assert!(started.elapsed() >= Duration::from_millis(120));
}

/// "Never" is one server's word: another is asked, once, and what all refuse fails at once.
#[tokio::test]
async fn a_server_without_time_is_not_asked_again_and_others_are() {
    let servers = fleet(2).await;
    let client = connect(&servers).await;
    servers[0].always(push_back("-1"));
    for _ in 0..20 {
        let answer = client.rerank("q", ["d"]).await.unwrap();
        assert_eq!(answer.report.chunks[0].endpoint, servers[1].address());
        assert!(answer.report.attempts <= 2);
    }
    let before = servers[0].calls().len() + servers[1].calls().len();
    servers[1].always(push_back("-1"));
    let error = client.rerank("q", ["d"]).deadline(Duration::from_secs(600)).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Overloaded, false));
    assert_eq!(servers[0].calls().len() + servers[1].calls().len() - before, error.attempts() as usize);
    assert!(error.attempts() <= 2);
}

#[tokio::test]
async fn a_wait_past_the_deadline_is_not_waited_for() {
    let servers = fleet(1).await;
    let client = connect(&servers).await;
    servers[0].always(push_back("60000"));
    let started = Instant::now();
    let error = client.rerank("q", ["d"]).deadline(Duration::from_secs(30)).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Overloaded, true));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn one_deadline_holds_over_all_attempts_and_servers_are_told_what_is_left() {
    let servers = fleet(2).await;
    let client = connect(&servers).await;
    let (first, never) = (Gate::new(), Gate::new());
    for server in &servers {
        server.then(refuse(Code::Unavailable).gated(&first)).always(Reply::answer().gated(&never));
    }
    let within = Duration::from_secs(4);
    let started = Instant::now();
    let job = tokio::spawn(client.rerank("q", ["d"]).deadline(within).into_future());
    first.entered(1).await;
    let came = Instant::now();
    let first_told = servers.iter().flat_map(TestServer::calls).next().unwrap().timeout.unwrap();
    let held = came.elapsed();
    first.open();
    never.dropped(1).await;
    let error = job.await.unwrap().unwrap_err();
    // The servers were told to be done a little sooner, so that their answer still arrives.
    assert!(started.elapsed() >= within - sortie_client::MAX_DEADLINE_MARGIN);
    // Both refuse once, then one never answers.
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::DeadlineExceeded, 3), "{error:?}");
    assert_eq!(error.message(), "the deadline passed");
    let mut calls: Vec<_> = servers.iter().flat_map(TestServer::calls).collect();
    calls.sort_by(|a, b| a.attempt.cmp(&b.attempt));
    let told: Vec<_> = calls.iter().map(|call| call.timeout.unwrap()).collect();
    assert!(told[0] <= within && told[1] < told[0] && told[2] < told[1], "{told:?}");
    // What the first attempt took at the gate is gone.
    assert!(told[0] == first_told && told[2] + held <= told[0], "{told:?} {held:?}");
}

#[tokio::test]
async fn dropping_a_call_cancels_it_at_every_server() {
    let servers = fleet(3).await;
    let client = connect(&servers).await;
    let gate = Gate::new();
    for server in &servers {
        server.always(Reply::answer().gated(&gate));
    }
    let job = tokio::spawn(client.rerank("q", texts(5, 90)).into_future());
    gate.entered(3).await;
    assert!(client.stats().endpoints.iter().all(|endpoint| endpoint.in_flight_tokens > 0));
    job.abort();
    assert!(job.await.unwrap_err().is_cancelled());
    gate.dropped(3).await;
    assert!(client.stats().endpoints.iter().all(|endpoint| endpoint.in_flight_tokens == 0));
}

#[tokio::test]
async fn a_failed_chunk_cancels_the_others() {
    let servers = fleet(3).await;
    let client = connect(&servers).await;
    let gate = Gate::new();
    servers[0].always(refuse(Code::InvalidArgument));
    for server in &servers[1..] {
        server.always(Reply::answer().gated(&gate));
    }
    let error = client.rerank("q", texts(6, 90)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    // The others may have been cancelled before they came that far.
    assert!(client.stats().endpoints.iter().all(|endpoint| endpoint.in_flight_tokens == 0));
}

#[tokio::test]
async fn servers_that_are_not_there_are_named() {
    let mut servers = fleet(1).await;
    let address = servers[0].address();
    servers[0].kill().await;
    let client = Client::builder().endpoint(&address).build().unwrap();
    let error = client.rerank("q", ["d"]).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
    assert_eq!(error.endpoint(), Some(address.as_str()));
    assert!(error.attempts() > 1);
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}
