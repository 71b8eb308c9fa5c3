//! One device: its batch, its cost, its budget, and when its next batch is sealed.
//!
//! A batch is sealed as late as it can be without the device ever waiting for it:
//! `lead` before the running one is predicted to end, where the lead is what
//! preparing a batch takes (mean + 3 mean deviations, as TCP times its
//! retransmissions) plus [`WAKE_UP`].
//!
//! Invariants: at most one batch sealed and one running; the budget is never zero
//! and never above the configured one.

use std::time::Duration;

use sortie_work::Cost;

use super::{
    cost::CostFit,
    margins::Margins,
    units::{AdmissionEstimate, At, BatchItem, BatchOutcome, STALE, secs},
};
use crate::load::{DeviceGauge, RunningBatch, Utilization};

/// What waking two threads takes on a busy machine: a timer's slack and a switch each.
const WAKE_UP: Duration = Duration::from_micros(200);

/// Weight of a new sample of the preparation time: as TCP's round trips.
const LEAD_WEIGHT: f64 = 0.125;

/// A budget that memory cut is doubled again after so long without another cut.
const REGROW: Duration = Duration::from_secs(300);

/// Memory never cuts the budget below this share: a batch that small which still
/// does not fit is no question of its size.
const LEAST_SHARE: usize = 64;

/// A batch that is prepared.
#[derive(Debug)]
struct SealedBatch {
    work: u64,
    complete: Vec<AdmissionEstimate>,
}

/// One device as the queue sees it.
#[derive(Debug)]
pub(crate) struct DeviceState {
    pub(super) fit: CostFit,
    /// When a batch last ended.
    ended: At,
    /// Whether the running batch is the first for long.
    rested: bool,
    pub(super) budget: usize,
    full_budget: usize,
    cut_at: Option<At>,
    /// The batch that is prepared.
    sealed: Option<SealedBatch>,
    running: Option<RunningBatch>,
    /// Chunks that end with the running batch.
    complete: Vec<AdmissionEstimate>,
    /// By how much predictions of batches were outlasted.
    margins: Margins,
    busy: Utilization,
    pub(super) alive: bool,
    pub(super) retired: bool,
    /// Since when an idle device holds ready work back for its siblings.
    pub(super) held_since: Option<At>,
    lead: f64,
    lead_deviation: f64,
}

impl DeviceState {
    /// An idle one.
    pub(super) fn new(budget: usize) -> Self {
        Self {
            fit: CostFit::default(),
            ended: At::ZERO,
            rested: false,
            budget,
            full_budget: budget,
            cut_at: None,
            sealed: None,
            running: None,
            complete: Vec::new(),
            margins: Margins::default(),
            busy: Utilization::default(),
            alive: true,
            retired: false,
            held_since: None,
            lead: 0.0,
            lead_deviation: 0.0,
        }
    }

    /// Forgets what batches cost and how far predictions were off.
    pub(super) fn reset_cost_model(&mut self) {
        self.fit = CostFit::default();
        self.margins = Margins::default();
    }

    pub(super) fn may_seal(&self) -> bool {
        self.alive && self.sealed.is_none()
    }

    /// A batch was formed for it.
    pub(super) fn seal<I>(&mut self, items: &[BatchItem<I>], complete: Vec<AdmissionEstimate>) {
        let work = items.iter().map(|item| item.work).sum();
        self.sealed = Some(SealedBatch { work, complete });
    }

    /// The prepared batch will not run.
    pub(super) fn unseal(&mut self) {
        self.sealed = None;
    }

    /// Work of the batch that is prepared.
    pub(super) fn sealed_work(&self) -> Option<u64> {
        self.sealed.as_ref().map(|batch| batch.work)
    }

    /// Cost of a batch as far as an estimate may rest on it, once measured: stretched by the error of full batches.
    pub(super) fn cost_with_margin(&self, now: At) -> Option<Cost> {
        let cost = self.fit.measured()?;
        let margin = self.margins.of(cost.batch_seconds(self.budget as u64), now);
        Some(cost.times(margin))
    }

    pub(super) fn is_free(&self) -> bool {
        self.may_seal() && self.running.is_none()
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// When the running batch should end; `now` if none runs or it is overdue.
    pub(super) fn free_at(&self, now: At) -> At {
        self.running.map_or(now, |batch| now.max(batch.started.saturating_add(batch.predicted)))
    }

    /// Seconds until it has run what was taken for it.
    pub(super) fn busy_seconds(&self, now: At) -> f64 {
        let sealed = self.sealed_work().map_or(0.0, |work| self.fit.cost().batch_seconds(work));
        self.free_at(now).saturating_sub(now).as_secs_f64() + sealed
    }

    /// What it does in a long batch.
    pub(super) fn work_per_second(&self) -> f64 {
        1e6 / self.fit.cost().b_us
    }

    /// When the next batch is to be sealed.
    pub(super) fn seal_at(&self, now: At) -> At {
        if self.running.is_none() {
            return now;
        }
        let lead = secs(self.lead + 3.0 * self.lead_deviation).saturating_add(WAKE_UP);
        self.free_at(now).saturating_sub(lead).max(now)
    }

    pub(super) fn start(&mut self, now: At, prepared: Duration) {
        let took = prepared.as_secs_f64();
        self.lead_deviation += LEAD_WEIGHT * ((took - self.lead).abs() - self.lead_deviation);
        self.lead += LEAD_WEIGHT * (took - self.lead);
        let SealedBatch { work, complete } =
            self.sealed.take().unwrap_or(SealedBatch { work: 0, complete: Vec::new() });
        self.complete = complete;
        let predicted = secs(self.fit.cost().batch_seconds(work)).max(Duration::from_nanos(1));
        self.settle(now, true);
        self.rested = self.has_rested(now);
        self.running = Some(RunningBatch { work, started: now, predicted });
    }

    /// Whether it has been idle for so long that what it is believed to cost may not hold any more.
    pub(super) fn is_stale(&self, now: At) -> bool {
        self.is_free() && self.has_rested(now)
    }

    fn has_rested(&self, now: At) -> bool {
        now >= self.ended.saturating_add(STALE)
    }

    /// The batch ended; what was estimated of the chunks that ended with it, if it ran whole.
    pub(super) fn stop(&mut self, now: At, ran: BatchOutcome) -> Vec<AdmissionEstimate> {
        self.ended = now;
        self.settle(now, ran != BatchOutcome::Otherwise);
        let mut kept = Vec::new();
        match (self.running.take(), ran) {
            (Some(batch), BatchOutcome::Whole(took)) => {
                self.margins.observe(batch.predicted.as_secs_f64(), took, now);
                self.fit.observe(batch.work, took, self.rested);
                kept = std::mem::take(&mut self.complete);
            }
            (Some(_), BatchOutcome::Otherwise) => self.complete.clear(),
            // It never started.
            (None, _) => self.sealed = None,
        }
        if let Some(at) = self.cut_at
            && now >= at.saturating_add(REGROW)
        {
            self.budget = self.budget.saturating_mul(2).min(self.full_budget);
            self.cut_at = (self.budget < self.full_budget).then_some(now);
        }
        kept
    }

    /// Brings the averages up to now. What ran for nothing was not served.
    fn settle(&mut self, now: At, served: bool) {
        // The batch is over: it took what it took, whatever was predicted.
        let over = |batch: RunningBatch| RunningBatch { predicted: Duration::ZERO, ..batch };
        let work_per_second = |batch: RunningBatch| if served { over(batch).work_per_second(now) } else { 0.0 };
        self.busy = self.busy.by(now, self.running.map(work_per_second));
    }

    /// Memory did not suffice for a batch of `tokens`.
    pub(super) fn halve(&mut self, now: At, tokens: usize) {
        let floor = (self.full_budget / LEAST_SHARE).max(1);
        self.budget = self.budget.min(tokens / 2).max(floor);
        self.cut_at = Some(now);
    }

    pub(super) fn lose(&mut self, now: At) {
        self.settle(now, false);
        self.running = None;
        self.alive = false;
        self.fit = CostFit::default();
    }

    pub(super) fn gauge(&self) -> DeviceGauge {
        DeviceGauge {
            alive: self.alive,
            budget: self.budget,
            knee: self.fit.knee(self.budget),
            cost: self.fit.cost(),
            best_recent_ratio: self.fit.best_recent_ratio(),
            ended: self.ended,
            measured: self.fit.measured().is_some(),
            running: self.running,
            busy: self.busy,
        }
    }
}
