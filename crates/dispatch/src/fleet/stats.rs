//! What is known and what was decided, for logs, metrics and curious people.

use sortie_work::Cost;

use super::{EndpointId, Fleet, Resource};
use crate::{
    action::{AttemptKind, HedgeSkipped},
    time::Time,
};

/// What is known of one server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointSnapshot {
    /// Its number.
    pub endpoint: EndpointId,
    /// Whether it can be reached, as far as is known, and takes work.
    pub ready: bool,
    /// Whether it is suspect: an attempt there is late, and it has answered nothing since.
    pub suspect: bool,
    /// Whether it is ejected.
    pub ejected: bool,
    /// Tokens in flight there.
    pub in_flight_tokens: u64,
    /// Name, cost and batches seen of each model.
    pub models: Vec<(String, Cost, u64)>,
}

/// Decisions so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DispatchCounters {
    /// Chunks sent for the first time, and their tokens of work.
    pub chunks: u64,
    /// See `chunks`.
    pub tokens: u64,
    /// Retries that were free, and their tokens of work.
    pub free_retries: u64,
    /// See `free_retries`.
    pub free_retry_tokens: u64,
    /// Retries paid from the budget, and their tokens of work.
    pub retries: u64,
    /// See `retries`.
    pub retry_tokens: u64,
    /// Hedges, and their tokens of work.
    pub hedges: u64,
    /// See `hedges`.
    pub hedge_tokens: u64,
    /// Hedges whose answer came first.
    pub hedges_won: u64,
    /// Attempts given up.
    pub cancelled: u64,
    /// Late attempts left alone for want of budget.
    pub skipped_budget: u64,
    /// Late attempts left alone because nobody would have been sooner.
    pub skipped_none_sooner: u64,
    /// Late attempts left alone for other reasons.
    pub skipped_other: u64,
    /// Times that a server became suspect.
    pub suspicions: u64,
    /// Servers ejected for failing.
    pub ejected_failing: u64,
    /// Servers ejected for being slow.
    pub ejected_slow: u64,
    /// Probes sent.
    pub probes: u64,
    /// Chunks tried again as two.
    pub splits: u64,
}

impl DispatchCounters {
    /// Tokens sent beyond each chunk's first attempt and its free retry, over those of first attempts.
    #[must_use]
    pub fn extra_share(&self) -> f64 {
        (self.retry_tokens + self.hedge_tokens) as f64 / self.tokens.max(1) as f64
    }
}

impl Fleet {
    /// An attempt is sent.
    pub(crate) fn count_send(&mut self, kind: AttemptKind, tokens: u64) {
        let counters = &mut self.counters;
        let (count, sum) = match kind {
            AttemptKind::First => (&mut counters.chunks, &mut counters.tokens),
            AttemptKind::FreeRetry => (&mut counters.free_retries, &mut counters.free_retry_tokens),
            AttemptKind::Retry => (&mut counters.retries, &mut counters.retry_tokens),
            AttemptKind::Hedge => (&mut counters.hedges, &mut counters.hedge_tokens),
        };
        *count += 1;
        *sum += tokens;
    }

    /// A hedge's answer came first.
    pub(crate) fn count_won(&mut self) {
        self.counters.hedges_won += 1;
    }

    /// An attempt is given up.
    pub(crate) fn count_cancelled(&mut self) {
        self.counters.cancelled += 1;
    }

    /// A chunk is tried again as two.
    pub(crate) fn count_split(&mut self) {
        self.counters.splits += 1;
    }

    /// A late attempt is left alone.
    pub(crate) fn count_withheld(&mut self, reason: HedgeSkipped) {
        match reason {
            HedgeSkipped::Budget => self.counters.skipped_budget += 1,
            HedgeSkipped::NoneSooner => self.counters.skipped_none_sooner += 1,
            _ => self.counters.skipped_other += 1,
        }
    }

    /// Decisions so far.
    #[must_use]
    pub fn counters(&self) -> DispatchCounters {
        self.counters
    }

    /// Tokens that hedges may still take.
    #[must_use]
    pub fn hedge_budget(&self) -> u64 {
        self.budget.for_hedges()
    }

    /// Tokens that retries may still take.
    #[must_use]
    pub fn retry_budget(&self) -> u64 {
        self.budget.for_retries()
    }

    /// What is known of each server, in the order of their numbers.
    pub fn stats(&self, now: Time) -> impl Iterator<Item = EndpointSnapshot> {
        self.members.iter().filter_map(move |&id| {
            let endpoint = self.endpoint(id)?;
            let models = endpoint.models().filter_map(|(model, served)| {
                let state = self.state(model).filter(|state| state.resource == Resource::Device)?;
                let cost = served.cost.cost(&self.config, &state.prior, now);
                Some((state.name.clone(), cost, served.cost.samples()))
            });
            let mut models: Vec<_> = models.collect();
            models.sort_by(|a, b| a.0.cmp(&b.0));
            Some(EndpointSnapshot {
                endpoint: id,
                ready: endpoint.readiness.is_ready(now),
                suspect: endpoint.suspicion.is_suspect(),
                ejected: endpoint.ejection.is_out(),
                in_flight_tokens: endpoint.in_flight(),
                models,
            })
        })
    }
}
