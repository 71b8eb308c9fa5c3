//! The flags of `sortie bench`.

use std::{path::PathBuf, time::Duration};

use crate::{Strategy, fault::FaultSpec, sizes::SizeDistribution};

/// `sortie bench`
///
/// Jobs arrive at random (Poisson) whether earlier ones have ended or not, and a latency is counted from the moment its
/// job was meant to start: a stall shows in every job it held up.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// Jobs a second
    #[arg(long, value_name = "N", value_parser = positive, required_unless_present = "load")]
    pub rate: Option<f64>,
    /// Instead of --rate: this share of the tokens a second that the servers report they can do
    #[arg(long, value_name = "SHARE", value_parser = positive, conflicts_with = "rate")]
    pub load: Option<f64>,
    /// Ways to spread a job over the servers; each gets the same jobs at the same moments
    #[arg(long, value_enum, value_delimiter = ',', default_value = "naive,p2c,p2c+hedge,whole,sortie")]
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
    /// Send the jobs of this file in turn instead of drawing them, one a line: {"query": "…", "documents": ["…", …]}
    #[arg(long, value_name = "FILE.jsonl", conflicts_with_all = ["texts", "bytes", "documents", "query"])]
    pub jobs: Option<PathBuf>,
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
