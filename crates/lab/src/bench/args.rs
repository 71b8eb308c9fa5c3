//! The flags of `sortie bench`.

use std::{path::PathBuf, time::Duration};

use super::{
    moments::{ArrivalBursts, ArrivalTimes},
    target::BenchError,
    wire::{BenchProtocol, BenchTask},
};
use crate::{Strategy, fault::FaultSpec, sizes::SizeDistribution};

/// Ways to send where the client library can be one.
const OURS: [Strategy; 5] = [Strategy::Naive, Strategy::P2c, Strategy::P2cHedge, Strategy::Whole, Strategy::Sortie];

/// Ways to send to anybody's servers: a whole job, and a client's fixed split.
const ANYBODYS: [Strategy; 2] = [Strategy::Naive, Strategy::Whole];

/// `sortie bench`
///
/// Jobs arrive at random (Poisson) whether earlier ones have ended or not, and a latency is counted from the moment its
/// job was meant to start: a stall shows in every job it held up. Other servers than ours are asked by --protocol.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// Jobs a second
    #[arg(long, value_name = "N", value_parser = positive, required_unless_present_any = ["load", "trace", "closed"])]
    pub rate: Option<f64>,
    /// Instead of --rate: this share of what the servers can do, as they report it, or as --measure-capacity finds
    #[arg(long, value_name = "SHARE", value_parser = positive, conflicts_with = "rate")]
    pub load: Option<f64>,
    /// Find what --load is a share of by a closed loop of this length before, in the first strategy; what is found is told.
    /// Protocols in which servers do not report their rate are measured for 10 s
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub measure_capacity: Option<Duration>,
    /// How jobs that come by chance are spread: poisson, or burst:N for N at a time
    #[arg(long, value_name = "SPREAD", default_value = "poisson")]
    pub arrivals: ArrivalBursts,
    /// Start jobs at the moments of this file, one a line: milliseconds, or an object with at_ms as --log writes it; with
    /// --rate stretched to that. Moments of the warm-up are part of it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["load", "arrivals"])]
    pub trace: Option<PathBuf>,
    /// Instead of an open loop: so many callers, each of which sends its next job when it has the answer to the last.
    /// Latencies of a closed loop leave out what a stall would have held up
    #[arg(long, value_name = "CALLERS", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["rate", "load", "trace", "arrivals", "cancel"])]
    pub closed: Option<u32>,
    /// What is spoken to the servers; all but sortie.v1 for strategies without the client library
    #[arg(long, value_enum, default_value_t = BenchProtocol::Sortie)]
    pub protocol: BenchProtocol,
    /// What a job asks for
    #[arg(long, value_enum, default_value_t = BenchTask::Rerank)]
    pub task: BenchTask,
    /// Ways to spread a job over the servers; each gets the same jobs at the same moments. If left out, naive, p2c,
    /// p2c+hedge, whole and sortie in sortie.v1, else naive and whole
    #[arg(long, value_enum, value_delimiter = ',')]
    pub strategies: Vec<Strategy>,
    /// Time each strategy is measured, all rounds together
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// Time before each round's measuring starts
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    pub warm_up: Duration,
    /// Turns the strategies take: more of them spread what else the machine does over all
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Documents in a job: N, uniform:LEAST:MOST or lognormal:MEDIAN:SIGMA
    #[arg(long, value_name = "SPREAD", default_value = "200")]
    pub documents: SizeDistribution,
    /// Bytes of a document, as above; about four make a token of English text
    #[arg(long, value_name = "SPREAD", default_value = "lognormal:540:0.45")]
    pub bytes: SizeDistribution,
    /// Take documents from this file instead, one a line
    #[arg(long, value_name = "FILE", conflicts_with = "bytes")]
    pub texts: Option<PathBuf>,
    /// Send the jobs of this file in turn instead of drawing them, one a line: {"query": "…", "documents": ["…", …]}, and
    /// perhaps "scores": [n, …], the right ones, that answers must have within 5e-3 and in that order
    #[arg(long, value_name = "FILE.jsonl", conflicts_with_all = ["texts", "bytes", "documents", "query"])]
    pub jobs: Option<PathBuf>,
    /// Write the jobs of --jobs with the scores that were seen into this file, for other runs to be held against
    #[arg(long, value_name = "FILE.jsonl", requires = "jobs")]
    pub save_reference: Option<PathBuf>,
    /// Ask this instead of made-up queries; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub query: Vec<String>,
    /// Share of jobs that are cancelled at a random moment within --cancel-within
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub cancel: f64,
    /// See --cancel
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = humantime::parse_duration)]
    pub cancel_within: Duration,
    /// Something that goes wrong while it is measured, for example
    /// every=1s,for=150ms,signal=STOP,pid=FILE:FILE or at=10s,signal=KILL,pid=FILE or at=5s,run=COMMAND
    ///
    /// `at` and `every` count from when a strategy's measuring starts, `every` with `from=10s` from then on. `pid`
    /// holds process ids, or files that hold one, separated by colons; one of them is picked at random each time.
    /// `signal` is STOP, CONT, TERM, KILL or HUP; with `for` a STOP is followed by a CONT. `run` is given to `sh -c`
    /// and takes the rest of the line.
    #[arg(long, value_name = "FAULT")]
    pub fault: Vec<FaultSpec>,
    /// Documents in a chunk of the strategies that cut by count
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub chunk: u32,
    /// Times those strategies try a chunk again elsewhere after UNAVAILABLE
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub retries: u32,
    /// Where arrivals, sizes, texts and faults begin
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Write what came of each job into this file, one JSON value a line
    #[arg(long, value_name = "FILE.jsonl")]
    pub log: Option<PathBuf>,
    /// Draw latencies by share of jobs into this SVG file
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Add what came of it to this file, a JSON value a strategy and line, with what was asked for in each
    #[arg(long, value_name = "FILE.jsonl")]
    pub results: Option<PathBuf>,
    /// Write a table in Markdown into this file
    #[arg(long, value_name = "FILE.md")]
    pub markdown: Option<PathBuf>,
    /// Write one page with tables and pictures, that needs no other file, into this file
    #[arg(long, value_name = "FILE.html")]
    pub html: Option<PathBuf>,
    /// What results, tables and pages call this run
    #[arg(long, value_name = "TEXT", default_value = "sortie bench")]
    pub label: String,
}

impl BenchArgs {
    /// The ways to send that were asked for.
    pub(super) fn ways(&self) -> Result<&[Strategy], BenchError> {
        let ways: &[Strategy] = match (self.strategies.as_slice(), self.protocol) {
            ([], BenchProtocol::Sortie) => &OURS,
            ([], _) => &ANYBODYS,
            (given, _) => given,
        };
        let (protocol, task) = (self.protocol, self.task);
        if !protocol.has(task) {
            return Err(BenchError::Usage(format!("--task {}: {} does not have it", task.name(), protocol.name())));
        }
        match ways.iter().find(|way| protocol != BenchProtocol::Sortie && way.is_ours()) {
            Some(way) => {
                let (way, protocol) = (way.name(), protocol.name());
                Err(BenchError::Usage(format!("--strategies {way}: the client library does not speak {protocol}")))
            }
            None => Ok(ways),
        }
    }

    /// The moments of jobs where they come at `rate` jobs a second, if that is known.
    pub(super) fn times(&self, rate: Option<f64>) -> Result<ArrivalTimes, BenchError> {
        match (&self.trace, self.closed, rate) {
            (Some(trace), _, _) => ArrivalTimes::read(trace, self.rate),
            (None, Some(_), _) => Ok(ArrivalTimes::AtOnce),
            (None, None, Some(rate)) => Ok(ArrivalTimes::Bursts { rate, size: self.arrivals.0 }),
            (None, None, None) => {
                Err(BenchError::Usage("--load: the servers do not report their rate; say --rate".to_owned()))
            }
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() && n > 0.0 => Ok(n),
        _ => Err("must be a number above 0".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if (0.0..=1.0).contains(&n) => Ok(n),
        _ => Err("must be a number within 0 to 1".to_owned()),
    }
}
