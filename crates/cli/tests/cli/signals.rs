//! Readers that go away and people who press Ctrl-C.

#![cfg(unix)]

use std::process::Command;

use sortie_testkit::{Gate, Reply, TestServer};

use crate::support::command;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_it_quietly() {
    let server = TestServer::start().await.unwrap();
    for json in [&[][..], &["--json"]] {
        let gate = Gate::new();
        server.always(Reply::answer().gated(&gate));
        let mut child = command(&[&["embed", "a", "--endpoint", &server.address()], json].concat()).spawn().unwrap();
        // Nobody reads when the answer comes.
        drop(child.stdout.take());
        gate.open();
        let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_the_job_on_the_server() {
    let server = TestServer::start().await.unwrap();
    let gate = Gate::new();
    server.always(Reply::answer().gated(&gate));
    let child = command(&["embed", "a", "--deadline", "60s", "--endpoint", &server.address()]).spawn().unwrap();
    gate.entered(1).await;
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(130), &b""[..]));
    gate.dropped(1).await;
}
