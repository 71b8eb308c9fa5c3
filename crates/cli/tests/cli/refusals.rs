//! Exit codes and messages where servers refuse.

use std::time::Duration;

use sortie_testkit::{Gate, Reply, TestServer, proto::metadata::PUSHBACK};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::support::{at, reading};

/// A server that has room again in a minute and a half: longer than the tool waits if nothing is said.
fn full(message: &str) -> Status {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(90)));
    let mut status = Status::with_error_details(Code::ResourceExhausted, message, details);
    status.metadata_mut().insert(PUSHBACK, "90000".parse().expect("a number"));
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_refusal_has_its_code_and_one_line() {
    for (code, exit, word) in [
        (Code::InvalidArgument, 2, "because"),
        (Code::OutOfRange, 2, "because"),
        (Code::ResourceExhausted, 5, "hint: try again"),
        (Code::NotFound, 6, "`sortie models`"),
        (Code::FailedPrecondition, 6, "`sortie models`"),
        (Code::Unimplemented, 6, "because"),
        (Code::Unauthenticated, 7, "SORTIE_TOKEN"),
        (Code::PermissionDenied, 7, "because"),
        (Code::Unavailable, 3, "--endpoint"),
        (Code::DeadlineExceeded, 4, "--deadline"),
        (Code::Internal, 70, "because"),
    ] {
        let server = TestServer::start().await.unwrap();
        // A full server is waited for, but not past the deadline.
        server.always(Reply::refuse(move || match code {
            Code::ResourceExhausted => full("because"),
            _ => Status::new(code, "because"),
        }));
        let run = at(&[&server], &["embed", "a"]).await;
        assert_eq!(run.code, Some(exit), "{code:?}: {run:?}");
        assert!(run.out.is_empty() && run.err.lines().count() == 1, "{code:?}: {run:?}");
        assert!(run.err.starts_with("error: ") && run.err.contains(word), "{code:?}: {run:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_field_and_the_wait_are_named() {
    let server = TestServer::start().await.unwrap();
    server.always(Reply::refuse(|| {
        let details = ErrorDetails::with_bad_request_violation("dimensions", "999, at most 384");
        Status::with_error_details(Code::InvalidArgument, "999 is more than 384", details)
    }));
    let run = at(&[&server], &["embed", "a"]).await;
    assert!(run.err.starts_with("error: dimensions: 999 is more than 384"), "{run:?}");
    server.always(Reply::refuse(|| full("the queue is full")));
    let run = at(&[&server], &["embed", "a"]).await;
    assert!(run.err.contains("the queue is full") && run.err.contains("try again in 1m 30s"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_meets_the_deadline() {
    let server = TestServer::start().await.unwrap();
    server.always(Reply::answer().gated(&Gate::new()));
    let run = at(&[&server], &["embed", "a", "--deadline", "3s"]).await;
    assert_eq!(run.code, Some(4), "{run:?}");
    assert!(run.out.is_empty() && run.err.contains("--deadline"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_is_replaced_by_another() {
    let servers = [TestServer::start().await.unwrap(), TestServer::start().await.unwrap()];
    for server in &servers {
        server.then(Reply::hang_up());
    }
    let run = at(&[&servers[0], &servers[1]], &["embed", "a", "--json", "--timings"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let document = run.json();
    assert!(document["timings"]["attempts"].as_u64().unwrap() > 1, "{document}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_revision_fails_where_chunks_differ() {
    let servers = [TestServer::start().await.unwrap(), TestServer::start().await.unwrap()];
    servers[1].always(Reply::answer().revision("r2"));
    // So much work that it is cut, and that neither half is late and asked for of the other server.
    let input = format!("{}\n", "word ".repeat(200)).repeat(40);
    let embed = async |args: &[&str]| reading(&[&servers[0], &servers[1]], args, input.as_bytes()).await;
    let flagged = embed(&["embed", "--json"]).await;
    assert_eq!(flagged.json()["mixed_revisions"], true, "{flagged:?}");
    let run = embed(&["embed", "--json", "--one-revision"]).await;
    assert_eq!(run.code, Some(70), "{run:?}");
    assert!(run.out.is_empty() && run.err.contains("revision"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_revision_holds_across_the_jobs_of_a_long_input() {
    let server = TestServer::start().await.unwrap();
    // More than one job holds, fewer than two do; one server, so each job is one call.
    let input = "word\n".repeat(1_500);
    for (flags, code) in [(&[][..], 0), (&["--one-revision"][..], 70)] {
        let before = server.calls().len();
        server.then(Reply::answer().revision("r2"));
        let run = reading(&[&server], &[&["embed", "--json"], flags].concat(), input.as_bytes()).await;
        assert_eq!(run.code, Some(code), "{flags:?}: {}", run.err);
        assert_eq!(server.calls().len() - before, 2);
        if code == 0 {
            assert_eq!(run.json()["mixed_revisions"], true);
        } else {
            assert!(run.out.is_empty() && run.err.lines().count() == 1 && run.err.contains("r2"), "{run:?}");
        }
    }
}
