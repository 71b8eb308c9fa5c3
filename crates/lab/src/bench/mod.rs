//! An open-loop load generator for real fleets: what the command `sortie bench` runs.
//!
//! `texts` (what jobs are made of) → `jobs` (what is in each, and when it is meant to start) → `generate` (they start
//! then, whatever became of earlier ones) → `drive` (a strategy spreads each over the servers) → `record` (what came of
//! it) → `report` → `show` (tables and pages); each job alone → `log`. `moments` says when jobs come, `wire` what is spoken
//! to a server that is no client library's business. Faults break things meanwhile.
//!
//! Invariants: every strategy gets the same jobs at the same offsets; a latency counts from the intended start, so that
//! no stall hides the jobs it held up (coordinated omission); what starts in the warm-up is not counted.

mod args;
mod cpu;
mod drive;
mod generate;
mod jobs;
mod log;
mod moments;
mod record;
mod report;
mod run;
mod show;
mod target;
mod texts;
mod wire;

pub use self::{
    args::BenchArgs,
    moments::ArrivalBursts,
    record::TruthCounts,
    report::{BenchReport, Failures, Latency, Setting, StrategyRow},
    run::LoadTest,
    target::{BenchError, BenchTarget},
    wire::{BenchProtocol, BenchTask},
};
