//! A load that is offered, and what became of each of its jobs.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::bail;
use sortie_benches::timed::Programs;
use xtask::process::{self, Keep};

use crate::{bodies::Bodies, pin::Pins, rivals::Rivals};

/// Who offers, by the names of the flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum LoadGenerator {
    /// Our client
    Sortie,
    /// Whole jobs to the least loaded server, no retry
    Whole,
    /// ghz, no retry
    Ghz,
    /// grpcio with a retry policy of five attempts
    Grpcio,
}

impl LoadGenerator {
    /// The word of the flag.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sortie => "sortie",
            Self::Whole => "whole",
            Self::Ghz => "ghz",
            Self::Grpcio => "grpcio",
        }
    }

    /// Rerank calls that it makes before its first job: `sortie bench` tastes how many tokens a byte makes.
    pub(super) fn tasters(self) -> f64 {
        if matches!(self, Self::Sortie | Self::Whole) { 3.0 } else { 0.0 }
    }
}

/// What is to be offered.
#[derive(Debug)]
pub(super) struct LoadSpec<'a> {
    pub(super) by: LoadGenerator,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) bodies: &'a Bodies,
    /// Jobs a second and seconds, one after the other; only grpcio takes more than one.
    pub(super) phases: Vec<(f64, f64)>,
    pub(super) deadline: Duration,
    pub(super) tenant: Option<&'a str>,
    pub(super) seed: u64,
    pub(super) programs: &'a Programs,
    pub(super) pins: &'a Pins,
    pub(super) scratch: &'a Path,
    /// Needed by ghz and grpcio.
    pub(super) rivals: Option<&'a Rivals>,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobResult {
    /// With a whole answer.
    Answered,
    /// Its deadline came.
    Deadline,
    /// Any other way.
    Refused,
}

impl JobResult {
    /// Of a gRPC code as `sortie bench`, grpcio and ghz write them, or a reason of ours.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "OK" => Self::Answered,
            "DEADLINE_EXCEEDED" | "DeadlineExceeded" => Self::Deadline,
            _ => Self::Refused,
        }
    }
}

/// What became of a job; seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobSample {
    /// When it was to leave, from the start of the load.
    pub(super) at: f64,
    /// How much later it left.
    pub(super) late: f64,
    /// From then to its end.
    pub(super) took: f64,
    pub(super) outcome: JobResult,
    /// Chunks of an answered one.
    pub(super) chunks: f64,
}

/// What became of all.
#[derive(Debug, Default)]
pub(super) struct LoadResult {
    pub(super) jobs: Vec<JobSample>,
    /// Processor seconds of the generator, where it says.
    pub(super) cpu: Option<f64>,
    /// How often each word was a job's end, for those that were neither answered nor refused for load.
    pub(super) words: std::collections::BTreeMap<String, u64>,
}

impl LoadResult {
    /// Notes a job and its word.
    pub(super) fn push(&mut self, job: JobSample, word: &str) {
        *self.words.entry(word.to_owned()).or_default() += 1;
        self.jobs.push(job);
    }
}

/// Runs a generator's own program on the load's cores; its output is only for errors.
pub(super) fn quietly(command: &mut Command, what: &str, pins: &Pins) -> anyhow::Result<()> {
    let out = pins.load.run(|| process::output(command.stdout(Stdio::null()), what, Keep::Stderr))?;
    if !out.status.success() {
        bail!("{what} failed ({}): {}", out.status, out.stderr.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_all_generators_are_known() {
        for word in ["DEADLINE_EXCEEDED", "DeadlineExceeded"] {
            assert_eq!(JobResult::of(word), JobResult::Deadline);
        }
        assert_eq!(JobResult::of("OK"), JobResult::Answered);
        for word in ["RESOURCE_EXHAUSTED", "ResourceExhausted", "UNAVAILABLE", "QUEUE_FULL"] {
            assert_eq!(JobResult::of(word), JobResult::Refused);
        }
    }
}
