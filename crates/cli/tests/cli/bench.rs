//! `sortie bench` against scripted servers: what it counts, logs and asks.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

use serde_json::{Value, json};
use sortie_testkit::TestServer;

use crate::support::{ToolRun, at, sortie};

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

/// A server of TEI's HTTP that scores a text by its length, or not quite: what it listens on. It ends with the process.
fn lengths(fault: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer_by_length(&stream, fault));
        }
    });
    address
}

/// Answers what comes on a connection until it closes.
fn answer_by_length(stream: &TcpStream, fault: &str) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let texts = body["texts"].as_array().unwrap();
        let mut ranks: Vec<(usize, usize)> =
            texts.iter().map(|text| text.as_str().unwrap().len()).enumerate().collect();
        ranks.sort_by_key(|(_, score)| std::cmp::Reverse(*score));
        match fault {
            "missing" => drop(ranks.pop()),
            "twice" => ranks.push(*ranks.last().unwrap()),
            "unsorted" => ranks.reverse(),
            _ => {}
        }
        let ranks: Vec<Value> = ranks.iter().map(|(index, score)| json!({"index": index, "score": score})).collect();
        let status = if fault == "refused" { "429 Too Many Requests" } else { "200 OK" };
        let answer = Value::from(ranks).to_string();
        let mut stream = stream;
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).unwrap();
    }
}

/// Runs `sortie bench` over TEI's HTTP, with jobs of two documents whose scores are known.
fn over_http(fault: &'static str, flags: &[&str]) -> (ToolRun, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let jobs = folder.path().join("jobs.jsonl");
    std::fs::write(&jobs, r#"{"query": "q", "documents": ["a", "abcd"], "scores": [1, 4]}"#).unwrap();
    let address = lengths(fault);
    let fixed = ["--protocol", "tei", "--jobs", jobs.to_str().unwrap(), "--endpoint", &address, "--json"];
    (sortie(&[&["bench", "--duration", "300ms", "--warm-up", "0s"], &fixed[..], flags].concat()), folder)
}

#[test]
fn other_servers_are_held_to_what_must_be_true() {
    for (fault, reason) in [
        ("", None),
        ("missing", Some("MISSING_SCORE")),
        ("twice", Some("SCORED_TWICE")),
        ("unsorted", Some("WRONG_ORDER")),
        ("refused", Some("HTTP_429")),
    ] {
        let (run, _folder) = over_http(fault, &["--rate", "100", "--strategies", "whole"]);
        assert_eq!(run.code, Some(0), "{run:?}");
        let report = run.json();
        let row = &report["results"][0];
        let failed = if reason.is_some() { row["jobs"].clone() } else { 0.into() };
        assert!(row["jobs"].as_u64().unwrap() > 3, "{report}");
        assert_eq!(row["failed"], failed, "{fault}: {report}");
        assert_eq!(row["reasons"].as_object().unwrap().keys().next().map(String::as_str), reason);
    }
}

#[test]
fn a_closed_loop_is_shown_in_every_form_and_a_load_is_measured_first() {
    let names = ["results.jsonl", "table.md", "page.html", "right.jsonl"];
    let out = tempfile::tempdir().unwrap();
    let files = names.map(|name| out.path().join(name).to_str().unwrap().to_owned());
    let [results, markdown, html, reference] = &files;
    let show = ["--results", results, "--markdown", markdown, "--html", html, "--save-reference", reference];
    let (run, _folder) = over_http("", &[&["--closed", "2", "--label", "by length"], &show[..]].concat());
    assert_eq!(run.code, Some(0), "{run:?}");
    let read = |file: &str| std::fs::read_to_string(file).unwrap();
    let strategies: Vec<Value> = read(results).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(strategies.len(), 2, "naive and whole");
    assert_eq!(
        (&strategies[0]["setting"]["arrivals"], &strategies[1]["result"]["failed"]),
        (&"closed:2".into(), &0.into())
    );
    assert!(read(markdown).contains("by length") && read(html).contains("<svg"));
    assert!(read(reference).contains("\"scores\":[1.0,4.0]"), "{}", read(reference));
    let measured = ["--load", "0.5", "--measure-capacity", "200ms", "--strategies", "whole"];
    let (run, _folder) = over_http("", &measured);
    let setting = run.json()["setting"].clone();
    let share = setting["rate"].as_f64().unwrap() / setting["capacity"].as_f64().unwrap();
    assert!((share - 0.5).abs() < 1e-9, "{setting}");
}

#[test]
fn what_a_protocol_cannot_do_is_wrong_usage() {
    for (flags, word) in [
        (&["--protocol", "openai", "--rate", "1"][..], "--task rerank: openai does not have it"),
        (&["--protocol", "tei", "--strategies", "sortie", "--rate", "1"], "does not speak tei"),
        (&["--closed", "2", "--rate", "1"], "--closed"),
        (&["--arrivals", "burst:1", "--rate", "1"], "burst:N"),
        (&["--protocol", "tei"], "--rate"),
        (&["--save-reference", "x", "--rate", "1"], "--jobs"),
    ] {
        let run = sortie(&[&["bench"], flags].concat());
        assert!(run.code == Some(2) && run.err.contains(word), "{run:?}");
    }
}
