//! Where the tool finds servers, what it tells them of the caller, and how it speaks to them.

use sortie_testkit::{Gate, Reply, TestServer};

use crate::support::{at, command, sortie};

#[tokio::test(flavor = "multi_thread")]
async fn flags_become_metadata_and_options() {
    let server = TestServer::start().await.unwrap();
    let flags = ["--model", "m", "--lane", "bulk", "--tenant", "t", "--token", "secret", "--deadline", "30s"];
    let run = at(&[&server], &[&["embed", "b"], &flags[..]].concat()).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let call = server.calls().pop().unwrap();
    assert_eq!((call.model.as_str(), call.lane.as_str(), call.tenant.as_str()), ("m", "bulk", "t"));
    assert_eq!(call.authorization, "Bearer secret");
    assert!(call.timeout.is_some_and(|left| (20..=30).contains(&left.as_secs())), "{:?}", call.timeout);
    assert!(call.user_agent.starts_with("sortie-cli/"), "{}", call.user_agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_goes_before_a_token() {
    let server = TestServer::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "from-file\n").unwrap();
    let path = path.to_str().unwrap();
    let run = at(&[&server], &["embed", "b", "--token", "secret", "--token-file", path]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(server.calls().pop().unwrap().authorization, "Bearer from-file");

    // The strategies of `bench` that are written by hand have it too.
    let bench = ["bench", "--rate", "50", "--documents", "2", "--duration", "200ms", "--warm-up", "0s"];
    let run = at(&[&server], &[&bench[..], &["--strategies", "whole", "--token-file", path]].concat()).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(server.calls().iter().filter(|call| call.rpc == "Rerank").count() > 3, "too few jobs to be telling");
    assert!(server.calls().iter().skip(1).all(|call| call.authorization == "Bearer from-file"));

    std::fs::write(path, " \n").unwrap();
    let run = at(&[&server], &["embed", "b", "--token-file", path]).await;
    assert!(run.code == Some(2) && run.err.contains("is empty"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_stands_for_its_addresses() {
    let server = TestServer::start().await.unwrap();
    let name = format!("dns:///{}", server.socket());
    for args in [&["embed", "b"][..], &["models"], &["probe"]] {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).chain(["-e".to_owned(), name.clone()]).collect();
        let run = move || sortie(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let run = tokio::task::spawn_blocking(run).await.unwrap();
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{run:?}");
    }
}

#[test]
fn a_name_without_an_address_is_three() {
    // Reserved for names that do not exist (RFC 6761).
    let run = sortie(&["embed", "b", "-e", "dns:///sortie.invalid:50051", "--deadline", "2s"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.err.lines().count() == 1, "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn late_work_goes_to_a_second_server_unless_told_not_to() {
    let servers = [TestServer::start().await.unwrap(), TestServer::start().await.unwrap()];
    let gate = Gate::new();
    for server in &servers {
        server.always(Reply::answer().gated(&gate));
    }
    let endpoints = format!("{},{}", servers[0].address(), servers[1].address());
    let embed = ["embed", "a", "--deadline", "10m", "-e", &endpoints];
    let calls = || servers.iter().flat_map(TestServer::calls).collect::<Vec<_>>();

    let alone = command(&[&embed[..], &["--no-hedging"]].concat()).spawn().unwrap();
    gate.entered(1).await;
    let alone_id = calls()[0].job_id.clone();
    let hedging = command(&embed).spawn().unwrap();
    gate.entered(3).await;
    // The one that began later has its hedge out.
    let calls = calls();
    assert_eq!(calls.iter().filter(|call| call.job_id == alone_id).count(), 1, "{calls:?}");
    gate.open();
    for child in [alone, hedging] {
        let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(0));
    }
}
