//! `sortie bench`: an open-loop load generator for real fleets.
//!
//! `texts` (what jobs are made of) → `arrivals` (when they are meant to start) → `generate` (they start then, whatever
//! became of earlier ones) → `drive` (a strategy spreads each over the servers) → `record` (what came of it) → `report`
//! and `plot`; each job alone → `log`. `fault` breaks things meanwhile.
//!
//! Invariants: every strategy gets the same jobs at the same offsets; a latency counts from the intended start, so that
//! no stall hides the jobs it held up (coordinated omission); what starts in the warm-up is not counted.

mod arrivals;
mod cpu;
mod distribution;
mod drive;
mod fault;
mod generate;
mod log;
mod plot;
mod record;
mod report;
mod run;
mod texts;

pub(crate) use self::{distribution::SizeDistribution, drive::Strategy, fault::FaultSpec, run::run};
