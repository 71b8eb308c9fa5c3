//! One device: its batch, its cost, its budget, and when its next batch is sealed.
//!
//! A batch is sealed as late as it can be without the device ever waiting for it:
//! `lead` before the running one is predicted to end, where the lead is what
//! preparing a batch takes (mean + 3 mean deviations, as TCP times its
//! retransmissions) plus [`WAKE_UP`].
//!
//! Invariants: at most one batch sealed and one running; the budget is never zero
//! and never above the configured one.

use super::{At, Ran, cost::CostFit, secs};
use crate::load::{Busy, DeviceGauge, Running};
use std::time::Duration;

/// What waking two threads takes on a busy machine: a timer's slack and a switch each.
const WAKE_UP: Duration = Duration::from_micros(200);

/// Weight of a new sample of the preparation time: as TCP's round trips.
const LEAD_WEIGHT: f64 = 0.125;

/// A budget that memory cut is doubled again after so long without another cut.
const REGROW: Duration = Duration::from_secs(300);

/// An idle device's cost is taken for old after this: the time constant with which clients forget a
/// server's rate, too, and with which reports fade to what the device has been known to do.
pub(crate) const STALE: Duration = Duration::from_secs(5);

/// Memory never cuts the budget below this share: a batch that small which still
/// does not fit is no question of its size.
const LEAST_SHARE: usize = 64;

/// One device as the queue sees it.
#[derive(Debug)]
pub(crate) struct Device {
    pub(super) fit: CostFit,
    /// When a batch last ended.
    ended: At,
    /// Whether the running batch is the first for long.
    rested: bool,
    pub(super) budget: usize,
    full_budget: usize,
    cut_at: Option<At>,
    /// Tokens of the batch that is prepared.
    pub(super) sealed: Option<u64>,
    running: Option<Running>,
    busy: Busy,
    pub(super) alive: bool,
    pub(super) retired: bool,
    /// Since when an idle device holds ready work back for its siblings.
    pub(super) held_since: Option<At>,
    lead: f64,
    lead_deviation: f64,
}

impl Device {
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
            busy: Busy::default(),
            alive: true,
            retired: false,
            held_since: None,
            lead: 0.0,
            lead_deviation: 0.0,
        }
    }

    pub(super) fn may_seal(&self) -> bool {
        self.alive && self.sealed.is_none()
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
        let tokens = self.sealed.take().unwrap_or(0);
        let predicted = secs(self.fit.cost().batch_seconds(tokens)).max(Duration::from_nanos(1));
        self.settle(now, true);
        self.rested = self.has_rested(now);
        self.running = Some(Running { tokens, started: now, predicted });
    }

    /// Whether it has been idle for so long that what it is believed to cost may not hold any more.
    pub(super) fn is_stale(&self, now: At) -> bool {
        self.is_free() && self.has_rested(now)
    }

    fn has_rested(&self, now: At) -> bool {
        now >= self.ended.saturating_add(STALE)
    }

    pub(super) fn stop(&mut self, now: At, ran: Ran) {
        self.ended = now;
        self.settle(now, ran != Ran::Otherwise);
        match (self.running.take(), ran) {
            (Some(batch), Ran::Whole(took)) => self.fit.observe(batch.tokens, took, self.rested),
            (Some(_), Ran::Otherwise) => {}
            // It never started.
            (None, _) => self.sealed = None,
        }
        if let Some(at) = self.cut_at
            && now >= at.saturating_add(REGROW)
        {
            self.budget = self.budget.saturating_mul(2).min(self.full_budget);
            self.cut_at = (self.budget < self.full_budget).then_some(now);
        }
    }

    /// Brings the averages up to now. What ran for nothing was not served.
    fn settle(&mut self, now: At, served: bool) {
        // The batch is over: it took what it took, whatever was predicted.
        let over = |batch: Running| Running { predicted: Duration::ZERO, ..batch };
        let tok_s = |batch: Running| if served { over(batch).tok_s(now) } else { 0.0 };
        self.busy = self.busy.by(now, self.running.map(tok_s));
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
            usual: self.fit.usual(),
            ended: self.ended,
            measured: self.fit.measured().is_some(),
            running: self.running,
            busy: self.busy,
        }
    }
}
