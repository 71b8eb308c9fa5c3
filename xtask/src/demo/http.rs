//! The same job by one HTTP request to a gateway, by `curl` where there is one, and whether its ranking is that of gRPC.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::json;

use super::corpus::Document;
use crate::{
    fleet::{gateway::LocalGateway, servers::LocalFleet},
    print::print,
    process::{self, Keep},
    server_process::unset_settings,
};

/// Results shown.
const SHOWN: usize = 3;

/// How long the answer may take: one slow core needs half a minute for it.
const PATIENCE: Duration = Duration::from_secs(300);

/// How far a score may be from that of gRPC: a batch moves the last bits of an f32, and which texts share one is chance.
const NEAR: f32 = 1e-4;

/// One entry of the answer.
#[derive(Debug, Deserialize)]
struct HttpRank {
    index: usize,
    score: f32,
}

/// What `sortie rerank --json` prints, as far as it is read.
#[derive(Debug, Deserialize)]
struct GrpcAnswer {
    results: Vec<GrpcRank>,
}

#[derive(Debug, Deserialize)]
struct GrpcRank {
    index: usize,
    score: f32,
}

/// The job of the demo.
#[derive(Debug)]
pub(super) struct HttpJob<'a> {
    /// The command-line tool.
    pub(super) cli: &'a Path,
    /// What is asked.
    pub(super) query: &'a str,
    /// What is ranked.
    pub(super) documents: &'a [Document],
    /// The documents as the command-line tool takes them.
    pub(super) lines: &'a Path,
    /// Where files go.
    pub(super) scratch: &'a Path,
}

impl HttpJob<'_> {
    /// Sends it, shows the best, and fails unless the ranking is that of gRPC.
    pub(super) fn run(&self, gateway: &LocalGateway, fleet: &LocalFleet) -> anyhow::Result<()> {
        let body = self.scratch.join("rerank.json");
        let texts: Vec<&str> = self.documents.iter().map(|document| document.text.as_str()).collect();
        fs::write(&body, json!({ "query": self.query, "texts": texts }).to_string())
            .with_context(|| format!("cannot write {}", body.display()))?;
        let url = format!("http://{}/rerank", gateway.http());
        print(&format!(
            "\nthe same documents by one HTTP request to the gateway, which spreads them over the servers\n\
             \x20 curl {url} -H 'content-type: application/json' -d @{}\n",
            body.display()
        ))?;
        let start = Instant::now();
        let answer = match curl(&url, &body)? {
            Some(answer) => answer,
            None => {
                print("there is no curl here; the demo sends the request itself\n")?;
                post(gateway.http(), &fs::read(&body).context("the request is gone")?)?
            }
        };
        let took = start.elapsed();
        let ranks: Vec<HttpRank> =
            serde_json::from_str(&answer).with_context(|| format!("the gateway answered {answer:?}"))?;
        let mut text = String::new();
        for HttpRank { index, score } in ranks.iter().take(SHOWN) {
            let name = self.documents.get(*index).map_or("?", |document| document.name.as_str());
            text += &format!("  {{\"index\":{index},\"score\":{score}}}  {name}\n");
        }
        same(&ranks, &self.over_grpc(fleet)?)?;
        print(&format!(
            "{text}it took {:.2} s; the ranking of all {} documents is the one over gRPC, scores from 0 to 1 as HTTP clients \
             expect them\n",
            took.as_secs_f64(),
            ranks.len()
        ))
    }

    /// Scores over gRPC, in the order of the documents.
    fn over_grpc(&self, fleet: &LocalFleet) -> anyhow::Result<Vec<f32>> {
        let mut command = Command::new(self.cli);
        unset_settings(&mut command);
        command.args([
            "rerank",
            self.query,
            "--model",
            super::MODEL,
            "--deadline",
            super::DEADLINE,
            "--json",
            "--docs",
        ]);
        command.arg(self.lines);
        for (_, address) in fleet.addresses() {
            command.arg("--endpoint").arg(format!("http://{address}"));
        }
        let out = process::output(&mut command, "sortie", Keep::Stdout)?;
        if !out.status.success() {
            bail!("sortie rerank failed ({})", out.status);
        }
        let answer: GrpcAnswer = serde_json::from_str(&out.stdout).context("cannot read what sortie rerank printed")?;
        let mut scores = vec![f32::NAN; self.documents.len()];
        for GrpcRank { index, score } in answer.results {
            *scores.get_mut(index).with_context(|| format!("there is no document {index}"))? = score;
        }
        Ok(scores)
    }
}

/// Fails unless `ranks` has every document once, the score of each, and none before one that is better; `logits` are
/// those of gRPC in the order of the documents.
fn same(ranks: &[HttpRank], logits: &[f32]) -> anyhow::Result<()> {
    let mut seen = vec![false; logits.len()];
    let mut before = f32::INFINITY;
    for HttpRank { index, score } in ranks {
        let Some(logit) = logits.get(*index) else { bail!("the gateway ranked a document {index} that was not sent") };
        if std::mem::replace(&mut seen[*index], true) {
            bail!("the gateway ranked document {index} twice");
        }
        let wanted = 1.0 / (1.0 + (-logit).exp());
        // What is no number is not within it.
        if !(wanted - NEAR..=wanted + NEAR).contains(score) {
            bail!("document {index} has the score {score} over HTTP and {wanted} over gRPC");
        }
        if *logit > before + NEAR {
            bail!("over HTTP document {index} stands behind one that is worse");
        }
        before = *logit;
    }
    if let Some(index) = seen.iter().position(|seen| !seen) {
        bail!("the gateway did not rank document {index}");
    }
    Ok(())
}

/// What curl prints; `None` where there is no curl.
fn curl(url: &str, body: &Path) -> anyhow::Result<Option<String>> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail-with-body", "--noproxy", "*", url]);
    command.args(["-H", "content-type: application/json", "-d"]).arg(format!("@{}", body.display()));
    match process::output(&mut command, "curl", Keep::Stdout) {
        Ok(out) if out.status.success() => Ok(Some(out.stdout)),
        Ok(out) => bail!("curl failed ({}): {}", out.status, out.stdout.trim()),
        Err(error) => match error.downcast_ref::<std::io::Error>() {
            Some(missing) if missing.kind() == ErrorKind::NotFound => Ok(None),
            _ => Err(error),
        },
    }
}

/// Body of the answer to a POST.
fn post(address: &str, body: &[u8]) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("cannot reach {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "POST /rerank HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the gateway's answer has no end of its headers")?;
    let status = head.lines().next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200") || head.to_ascii_lowercase().contains("transfer-encoding") {
        bail!("the gateway answered {status}: {body}");
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    fn rank(index: usize, score: f32) -> HttpRank {
        HttpRank { index, score }
    }

    #[test]
    fn rankings_are_held_against_each_other() {
        let logits = [0.0, 2.0, -2.0];
        let good = [rank(1, 0.880_797), rank(0, 0.5), rank(2, 0.119_203)];
        same(&good, &logits).unwrap();
        for (wrong, why) in [
            (vec![rank(0, 0.5), rank(1, 0.880_797), rank(2, 0.119_203)], "worse"),
            (vec![rank(1, 0.880_797), rank(0, 0.5)], "did not rank document 2"),
            (vec![rank(1, 0.880_797), rank(1, 0.880_797)], "twice"),
            (vec![rank(1, 2.0)], "has the score"),
            (vec![rank(1, f32::NAN)], "has the score"),
            (vec![rank(3, 0.5)], "not sent"),
        ] {
            let error = same(&wrong, &logits).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        // Two that are as good as equal may come either way.
        same(&[rank(1, 0.5), rank(0, 0.5)], &[0.000_01, 0.0]).unwrap();
        same(&[rank(1, 0.5), rank(0, 0.5)], &[0.0, f32::NAN]).unwrap_err();
    }

    #[test]
    fn a_request_of_our_own_is_read_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            for status in ["200 OK", "429 Too Many Requests"] {
                let mut stream = listener.accept().unwrap().0;
                let (mut got, mut part) = (Vec::new(), [0; 1024]);
                while !got.ends_with(b"[1]") {
                    let n = stream.read(&mut part).unwrap();
                    got.extend_from_slice(&part[..n]);
                }
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n[]").unwrap();
            }
        });
        assert_eq!(post(&address, b"[1]").unwrap(), "[]");
        assert!(post(&address, b"[1]").unwrap_err().to_string().contains("429"));
        server.join().unwrap();
    }
}
