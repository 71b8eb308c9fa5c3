//! `sortie bench` against scripted servers: what it counts, logs and asks.

use serde_json::Value;
use sortie_testkit::TestServer;

use crate::support::at;

const SHORT: [&str; 7] = ["bench", "--rate", "100", "--duration", "300ms", "--warm-up", "0s"];

#[tokio::test(flavor = "multi_thread")]
async fn every_strategy_has_the_same_jobs_and_each_is_a_line_of_the_log() {
    let servers = [TestServer::start().await.unwrap(), TestServer::start().await.unwrap()];
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("jobs.jsonl");
    let flags = ["--documents", "40", "--strategies", "naive,sortie", "--json", "--log", log.to_str().unwrap()];
    let run = at(&[&servers[0], &servers[1]], &[&SHORT[..], &flags, &["--query", "what"]].concat()).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let report = run.json();
    let lines: Vec<Value> =
        std::fs::read_to_string(log).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |strategy: &str| {
        let mut mine: Vec<&Value> = lines.iter().filter(|line| line["strategy"] == strategy).collect();
        mine.sort_by(|a, b| a["at_ms"].as_f64().unwrap().total_cmp(&b["at_ms"].as_f64().unwrap()));
        mine
    };
    let (naive, sortie) = (of("naive"), of("sortie"));
    assert!(naive.len() > 3, "too few jobs to be telling: {report}");
    let moments = |jobs: &[&Value]| jobs.iter().map(|job| job["at_ms"].clone()).collect::<Vec<_>>();
    assert_eq!(moments(&naive), moments(&sortie));
    assert_eq!((&report["results"][0]["jobs"], &report["results"][0]["failed"]), (&naive.len().into(), &0.into()));
    for job in naive.iter().chain(&sortie) {
        assert_eq!(job["outcome"], "OK");
        let by_server: u64 = job["servers"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(job["tokens"], by_server, "{job}");
    }
    // Forty documents by thirty-two are two chunks, and those of all jobs together go to the servers in turn: the two
    // of one job may meet on one server, where another job's came in between.
    assert!(naive.iter().all(|job| job["chunks"] == 2), "{naive:?}");
    for server in &servers {
        let by_hand = server.calls().iter().filter(|call| call.job_id.is_empty()).count();
        assert_eq!(by_hand, naive.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_or_read_is_wrong_usage() {
    let server = TestServer::start().await.unwrap();
    for (flags, word) in [
        (["--log", "/nowhere/jobs.jsonl"], "--log /nowhere/jobs.jsonl: "),
        (["--texts", "/nowhere/texts.txt"], "--texts /nowhere/texts.txt: "),
        (["--fault", "at=1s,from=1s,signal=HUP,pid=1"], "from"),
    ] {
        let run = at(&[&server], &[&SHORT[..], &flags].concat()).await;
        assert!(run.code == Some(2) && run.err.contains(word), "{run:?}");
    }
}
