//! What the tool prints of scripted servers' answers.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sortie_testkit::{Reply, TestServer, score_of, tokens_of, windows_of};

use crate::support::{at, reading};

/// The numbers of `field` over all results.
fn column<'a>(document: &'a Value, field: &str) -> Vec<&'a Value> {
    document["results"].as_array().unwrap().iter().map(|row| &row[field]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_is_reached_and_its_numbers_are_printed() {
    let server = TestServer::start().await.unwrap();
    let score = |text: &str| json!(score_of(text));
    for (rpc, args, field, expect) in [
        ("Rerank", &["rerank", "q", "b"][..], "score", score("b")),
        ("Embed", &["embed", "b"], "vector", json!([score_of("b"), 1.0])),
        ("EmbedTokens", &["embed-tokens", "b", "--role", "document"], "vectors", json!([[score_of("b"), -1.0]])),
        ("EmbedSparse", &["sparse", "b"], "weights", json!([score_of("b"), score_of("b")])),
        ("Classify", &["classify", "b"], "scores", json!([score_of("b"), -1.0])),
        ("Classify", &["classify", "--pair", "b", "c"], "score", score("b\u{1f}c")),
        (
            "TagTokens",
            &["tag", "b"],
            "spans",
            json!([{"label": "ALL", "start": 0, "end": 1, "score": score_of("b"), "text": "b"}]),
        ),
        ("Similarity", &["similarity", "a", "b"], "score", score("b")),
        ("Tokenize", &["tokenize", "b"], "tokens", json!(["b"])),
    ] {
        let run = at(&[&server], &[args, &["--json"]].concat()).await;
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{args:?}");
        let document = run.json();
        assert_eq!(document["results"][0][field], expect, "{args:?}: {document}");
        assert_eq!(
            (&document["model"], &document["errors"]),
            (&json!(if rpc == "Tokenize" { "" } else { "m" }), &json!([]))
        );
        assert_eq!(server.calls().last().unwrap().rpc, rpc);
        // The same for people: a header, and a row with the text.
        let run = at(&[&server], args).await;
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{args:?}");
        assert!(run.out.lines().count() == 2 && run.out.contains('b'), "{args:?}: {run:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rerank_prints_best_first_and_where_the_time_went() {
    let server = TestServer::start().await.unwrap();
    let documents = ["first", "second", "third"];
    let args = [&["rerank", "q"], &documents[..], &["--top", "2", "--timings"]].concat();
    let document = at(&[&server], &[&args[..], &["--json"]].concat()).await.json();
    let mut order: Vec<usize> = (0..3).collect();
    order.sort_by(|a, b| score_of(documents[*b]).total_cmp(&score_of(documents[*a])));
    assert_eq!(column(&document, "index"), [&json!(order[0]), &json!(order[1])]);
    assert_eq!(column(&document, "rank"), [&json!(1), &json!(2)]);
    assert_eq!(document["scoring"], "cross_encoder");
    let chunk = &document["timings"]["chunks"][0];
    assert_eq!((&chunk["endpoint"], &chunk["replica"]), (&json!(server.address()), &json!(server.replica())));
    assert_eq!((&chunk["items"], &chunk["queue_us"], &chunk["tokenize_us"]), (&json!(3), &json!(20), &json!(10)));
    let run = at(&[&server], &args).await;
    assert!(run.out.contains("Where the time went") && run.out.contains(server.replica()), "{run:?}");
    assert!(!run.out.contains('\u{1b}'), "colours into a pipe: {run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_are_asked_for_and_counted() {
    let server = TestServer::start().await.unwrap();
    let long = "word ".repeat(100);
    let windows = json!(windows_of(&long));
    for args in
        [&["rerank", "q", &long, "--stride", "8", "--window-score", "mean"][..], &["embed", &long, "--stride", "8"]]
    {
        let document = at(&[&server], &[args, &["--json"]].concat()).await.json();
        assert_eq!(document["results"][0]["windows"], windows, "{args:?}: {document}");
        let run = at(&[&server], args).await;
        assert!(run.out.contains(&format!("({windows} windows)")), "{run:?}");
    }
    let document = at(&[&server], &["rerank", "q", &long, "--json"]).await.json();
    assert!(document["results"][0].get("windows").is_none(), "{document}");
    let run = at(&[&server], &["rerank", "q", "d", "--window-score", "max"]).await;
    assert!(run.code == Some(2) && run.err.contains("--stride"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_items_leave_the_others_and_end_with_one() {
    let server = TestServer::start().await.unwrap();
    server.always(Reply::answer().item_error(1, "TOO_LONG", "900 tokens, at most 512"));
    let input =
        b"{\"id\": \"x\", \"text\": \"a\"}\n{\"id\": \"y\", \"text\": \"b\"}\n{\"id\": \"z\", \"text\": \"c\"}\n";
    let run = reading(&[&server], &["embed", "--jsonl", "--json"], input).await;
    assert_eq!((run.code, run.err.as_str()), (Some(1), ""));
    let document = run.json();
    assert_eq!(column(&document, "id"), ["x", "z"]);
    let expect = json!([{"index": 1, "id": "y", "reason": "TOO_LONG", "message": "900 tokens, at most 512"}]);
    assert_eq!(document["errors"], expect);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors.npy");
    let run = at(&[&server], &["embed", "a", "b", "c", "--output", path.to_str().unwrap()]).await;
    assert_eq!((run.code, run.out.lines().count()), (Some(1), 3), "{run:?}");
    assert_eq!(run.err, "error: item 1: 900 tokens, at most 512 [TOO_LONG]\n");
    let bytes = std::fs::read(path).unwrap();
    let (numbers, rest) = bytes[bytes.len() - 24..].as_chunks::<4>();
    let numbers: Vec<f32> = numbers.iter().map(|four| f32::from_le_bytes(*four)).collect();
    assert!(rest.is_empty() && numbers[0] == score_of("a") && numbers[2].is_nan() && numbers[5] == 1.0, "{numbers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_inputs_go_out_in_slices_over_all_endpoints_and_keep_their_order() {
    let servers = [TestServer::start().await.unwrap(), TestServer::start().await.unwrap()];
    let mut input = String::new();
    for i in 0..2_500 {
        writeln!(input, "text {i}").unwrap();
    }
    let run = reading(&[&servers[0], &servers[1]], &["embed", "--json"], input.as_bytes()).await;
    assert_eq!(run.code, Some(0), "{}", run.err);
    let document = run.json();
    let rows = document["results"].as_array().unwrap();
    assert_eq!(rows.len(), 2_500);
    for (i, row) in rows.iter().enumerate() {
        let text = format!("text {i}");
        assert_eq!((&row["index"], &row["tokens"]), (&json!(i), &json!(tokens_of(&text))));
        assert_eq!(row["vector"][0], json!(score_of(&text)));
    }
    for server in &servers {
        assert!(!server.calls().is_empty(), "a server got nothing");
    }
    let jobs: std::collections::BTreeSet<_> =
        servers.iter().flat_map(TestServer::calls).map(|call| call.job_id).collect();
    assert_eq!(jobs.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn different_revisions_are_told() {
    let server = TestServer::start().await.unwrap();
    server.then(Reply::answer().revision("r2"));
    let input = "text\n".repeat(1_025);
    let run = reading(&[&server], &["embed"], input.as_bytes()).await;
    assert_eq!(run.code, Some(0));
    assert!(run.err.starts_with("warning: different revisions of the model answered: r"), "{}", run.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn models_and_probe_ask_every_endpoint() {
    let (server, mut dead) = (TestServer::start().await.unwrap(), TestServer::start().await.unwrap());
    let run = at(&[&server, &dead], &["models"]).await;
    assert_eq!((run.code, run.out.lines().count()), (Some(0), 3), "{run:?}");
    dead.kill().await;
    for (command, field, expect) in [("models", "task", json!("rerank")), ("probe", "replica", json!(server.replica()))]
    {
        let run = at(&[&server, &dead], &[command, "--json"]).await;
        assert_eq!(run.code, Some(1), "{run:?}");
        let document = run.json();
        assert_eq!(column(&document, field), [&expect], "{document}");
        assert_eq!(document["results"][0]["limits"]["max_items"], 10_000);
        assert_eq!(
            (&document["errors"][0]["index"], &document["errors"][0]["id"]),
            (&json!(1), &json!(dead.address()))
        );
        assert_eq!(document["errors"][0]["reason"], "UNAVAILABLE");
    }
}
