//! What work costs: `T(c) = a + b · tokens` a batch, for each server and model. Tokens are of
//! [work](sortie_work::WorkCurve), so that a batch with long texts says of a server what one of short texts does.
//!
//! A server's cost is its *base* times the fleet's pace times its own. The base is what the server
//! itself reports, else the fleet's [`Prior`]. A pace follows `seen ÷ base` of
//! single batches, by at most [`crate::config::CostConfig::max_step`] a batch, and fades to the fleet's as
//! `e^(−idle / τ)`. One that was never seen has the fleet's: what small batches take against a line that was fitted through
//! large ones is true of all, and must not make the one server that was tried look better than the rest.
//!
//! Samples are `batch_ms` and `batch_work` of answers, never a call's own latency:
//! that holds other callers' time.
//!
//! Invariant: every cost handed out is finite, with `a ≥ 0` and `b > 0`.

use sortie_work::Cost;

use crate::{
    batch::BatchSample,
    config::DispatchConfig,
    prior::{Prior, clamp_pace, faded},
    time::Time,
};

/// Tokens of the batch by which two costs are compared.
const REFERENCE_TOKENS: f64 = 8_192.0;

/// Share of a step that is taken: halves the noise of single batches.
const GAIN: f64 = 0.5;

/// What a model's batches cost on one server.
#[derive(Clone, Debug)]
pub(crate) struct ServerCost {
    reported: Option<Cost>,
    pace: f64,
    seen: Time,
    samples: u64,
}

impl Default for ServerCost {
    fn default() -> Self {
        Self { reported: None, pace: 1.0, seen: Time::default(), samples: 0 }
    }
}

impl ServerCost {
    pub(crate) fn cost(&self, config: &DispatchConfig, prior: &Prior, now: Time) -> Cost {
        self.base(prior).times(self.pace(config, prior, now))
    }

    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    fn base(&self, prior: &Prior) -> Cost {
        self.reported.unwrap_or(prior.cost())
    }

    fn pace(&self, config: &DispatchConfig, prior: &Prior, now: Time) -> f64 {
        prior.pace(config, now) * faded(self.pace, config, self.seen, now)
    }

    /// Records the cost that the server reported.
    pub(crate) fn record_reported_cost(&mut self, config: &DispatchConfig, prior: &mut Prior, cost: Cost, now: Time) {
        if !cost.is_usable() {
            return;
        }
        prior.record_reported_cost(cost);
        // What was seen stays: only what it is measured by changes. A first report outweighs it.
        let before = self.cost(config, prior, now).batch_us(REFERENCE_TOKENS);
        let same = clamp_pace(before / cost.batch_us(REFERENCE_TOKENS) / prior.pace(config, now));
        self.pace = if self.reported.is_some() { same } else { 1.0 };
        self.seen = now;
        self.reported = Some(cost);
    }

    /// Records a batch that ran on the server.
    pub(crate) fn observe(&mut self, config: &DispatchConfig, prior: &mut Prior, batch: BatchSample, now: Time) {
        if !batch.is_usable() {
            return;
        }
        let own = faded(self.pace, config, self.seen, now);
        let base = self.base(prior).batch_us(batch.work);
        prior.observe_pace(config, batch.us / base, now);
        let ratio = batch.us / (base * prior.pace(config, now) * own);
        let step = ratio.clamp(1.0 / config.cost.max_step, config.cost.max_step);
        self.pace = clamp_pace(own * step.powf(GAIN));
        self.seen = now;
        self.samples += 1;
        prior.observe(config, batch);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    fn batch(cost: Cost, tokens: f64) -> BatchSample {
        BatchSample { us: cost.batch_us(tokens), work: tokens }
    }

    #[test]
    fn one_stall_does_not_brand_a_server() {
        let config = DispatchConfig::default();
        let mut prior = Prior::new(config.cost.prior);
        let mut server = ServerCost::default();
        let usual = Cost { a_us: 1_000.0, b_us: 0.5 };
        server.record_reported_cost(&config, &mut prior, usual, at(0));
        server.observe(&config, &mut prior, BatchSample { us: 1e6, work: 2_000.0 }, at(0));
        let after = server.cost(&config, &prior, at(0)).batch_us(2_000.0) / usual.batch_us(2_000.0);
        assert!((1.1..=config.cost.max_step).contains(&after), "{after}");
        let later = server.cost(&config, &prior, at(30)).batch_us(2_000.0) / usual.batch_us(2_000.0);
        assert!((later - 1.0).abs() < 0.01, "{later}");
    }

    #[test]
    fn a_slow_server_is_told_from_the_rest() {
        let config = DispatchConfig::default();
        let mut prior = Prior::new(config.cost.prior);
        let (mut fast, mut slow) = (ServerCost::default(), ServerCost::default());
        let usual = Cost { a_us: 1_000.0, b_us: 0.5 };
        for server in [&mut fast, &mut slow] {
            server.record_reported_cost(&config, &mut prior, usual, at(0));
        }
        for _ in 0..20 {
            fast.observe(&config, &mut prior, batch(usual, 3_000.0), at(1));
            slow.observe(&config, &mut prior, batch(usual.times(4.0), 3_000.0), at(1));
        }
        let ratio = slow.cost(&config, &prior, at(1)).b_us / fast.cost(&config, &prior, at(1)).b_us;
        assert!((3.5..4.5).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_report_that_agrees_with_what_was_seen_changes_nothing() {
        let config = DispatchConfig::default();
        let mut prior = Prior::new(config.cost.prior);
        let mut server = ServerCost::default();
        let usual = Cost { a_us: 1_000.0, b_us: 0.5 };
        server.record_reported_cost(&config, &mut prior, usual, at(0));
        for _ in 0..20 {
            server.observe(&config, &mut prior, batch(usual.times(2.0), 3_000.0), at(1));
        }
        let before = server.cost(&config, &prior, at(1)).batch_us(8_192.0);
        server.record_reported_cost(&config, &mut prior, usual.times(2.0), at(1));
        let after = server.cost(&config, &prior, at(1)).batch_us(8_192.0);
        assert!((after / before - 1.0).abs() < 1e-9, "{before} {after}");
    }

    proptest! {
        #[test]
        fn costs_stay_usable(
            batches in prop::collection::vec((prop::num::f64::ANY, prop::num::f64::ANY, 0u64..100, any::<bool>()), 0..60),
        ) {
            let config = DispatchConfig::default();
            let mut prior = Prior::new(config.cost.prior);
            let mut server = ServerCost::default();
            for (us, tokens, seconds, report) in batches {
                if report {
                    server.record_reported_cost(&config, &mut prior, Cost { a_us: us.clamp(-1e9, 1e9), b_us: tokens.clamp(-1e6, 1e6) }, at(seconds));
                } else {
                    let tokens = tokens.clamp(-1e9, 1e9);
                    server.observe(&config, &mut prior, BatchSample { us: us.clamp(-1e12, 1e12), work: tokens }, at(seconds));
                }
                prop_assert!(prior.cost().is_usable(), "{prior:?}");
                prop_assert!(server.cost(&config, &prior, at(seconds)).is_usable(), "{server:?} {prior:?}");
            }
        }
    }
}
