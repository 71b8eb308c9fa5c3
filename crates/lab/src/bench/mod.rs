//! An open-loop load generator for real fleets: what the command `sortie bench` runs.
//!
//! `texts` (what jobs are made of) → `jobs` (what is in each, and when it is meant to start) → `generate` (they start
//! then, whatever became of earlier ones) → `drive` (a strategy spreads each over the servers) → `record` (what came of
//! it) → `report`; each job alone → `log`. Faults break things meanwhile.
//!
//! Invariants: every strategy gets the same jobs at the same offsets; a latency counts from the intended start, so that
//! no stall hides the jobs it held up (coordinated omission); what starts in the warm-up is not counted.

mod args;
mod cpu;
mod drive;
mod generate;
mod jobs;
mod log;
mod record;
mod report;
mod run;
mod target;
mod texts;

pub use self::{
    args::BenchArgs,
    report::{BenchReport, Failures, Latency, Setting, StrategyRow},
    run::LoadTest,
    target::{BenchError, BenchTarget},
};
