//! What a model's batches cost on the fleet as a whole: a line through the batches
//! of all servers, by least squares whose weights halve every [`HALF_LIFE`] samples,
//! held lightly to the a/b that was believed before.
//!
//! Invariant: the cost is finite, with `a ≥ 0` and `b > 0`, whatever is seen.

use sortie_work::Cost;

use crate::{batch::BatchSample, config::DispatchConfig, time::Time};

/// Samples after which a sample counts for half: a few jobs.
const HALF_LIFE: f64 = 32.0;

/// Weight, in samples, of each of the two made-up samples that anchor the fit to the belief. It is small beside batches
/// of many sizes, and large where all batches have one size, because the slope of those is noise.
const BELIEF_WEIGHT: f64 = 0.1;

/// Share of a batch's deviation that the fleet's pace takes: some tens of batches decide.
const PACE_GAIN: f64 = 0.1;

/// That of the first batch, and in inverse proportion of the ones that follow: the rest of the step is the server's own.
const FIRST_PACE_GAIN: f64 = 0.5;

/// Farthest a pace may stray from 1, either way.
const MAX_PACE: f64 = 1e4;

/// A pace within reason.
pub(crate) fn clamp_pace(pace: f64) -> f64 {
    pace.clamp(1.0 / MAX_PACE, MAX_PACE)
}

/// What is left of a pace that was last seen at `seen`. In logarithms, so that twice as fast and twice as slow fade alike.
pub(crate) fn faded(pace: f64, config: &DispatchConfig, seen: Time, now: Time) -> f64 {
    let idle = (now - seen).as_secs_f64() / config.cost.decay.as_secs_f64();
    pace.powf((-idle).exp())
}

/// What a model's batches cost on the fleet as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Prior {
    cost: Cost,
    /// What is believed of a against b where sizes differ too little to tell.
    belief: Cost,
    reported: bool,
    samples: u64,
    sums: RegressionSums,
    pace: f64,
    /// When the pace was last seen.
    paced: Time,
}

/// Weighted sums of a regression.
#[derive(Clone, Copy, Debug, Default)]
struct RegressionSums {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl RegressionSums {
    fn add(&mut self, weight: f64, x: f64, y: f64) {
        self.weight += weight;
        self.x += weight * x;
        self.y += weight * y;
        self.xx += weight * x * x;
        self.xy += weight * x * y;
    }

    fn fade(&mut self, keep: f64) {
        for sum in [&mut self.weight, &mut self.x, &mut self.y, &mut self.xx, &mut self.xy] {
            *sum *= keep;
        }
    }

    fn line(&self) -> Cost {
        let (x, y) = (self.x / self.weight, self.y / self.weight);
        let b_us = (self.xy / self.weight - x * y) / (self.xx / self.weight - x * x);
        Cost { a_us: y - b_us * x, b_us }
    }
}

impl Prior {
    pub(crate) fn new(belief: Cost) -> Self {
        Self {
            cost: belief,
            belief,
            reported: false,
            samples: 0,
            sums: RegressionSums::default(),
            pace: 1.0,
            paced: Time::default(),
        }
    }

    pub(crate) fn cost(&self) -> Cost {
        self.cost
    }

    /// What batches take against what their servers say that they cost, lately and on the whole: what all servers of a
    /// model have in common, such as small batches that take less than the line through large ones says. It fades to 1.
    pub(crate) fn pace(&self, config: &DispatchConfig, now: Time) -> f64 {
        faded(self.pace, config, self.paced, now)
    }

    /// A batch took `ratio` times what its server says that it costs.
    pub(crate) fn observe_pace(&mut self, config: &DispatchConfig, ratio: f64, now: Time) {
        let pace = self.pace(config, now);
        let step = (ratio / pace).clamp(1.0 / config.cost.max_step, config.cost.max_step);
        let gain = (FIRST_PACE_GAIN / (self.samples + 1) as f64).max(PACE_GAIN);
        self.pace = clamp_pace(pace * step.powf(gain));
        self.paced = now;
    }

    /// Whether a server said what its batches cost.
    pub(crate) fn has_report(&self) -> bool {
        self.reported
    }

    /// Batches that were seen.
    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    /// A server says what its batches cost; the first report is believed, of the level only while
    /// nothing was seen.
    pub(crate) fn record_reported_cost(&mut self, cost: Cost) {
        if self.reported || !cost.is_usable() {
            return;
        }
        (self.reported, self.belief) = (true, cost);
        if self.samples == 0 {
            self.cost = cost;
        }
    }

    pub(crate) fn observe(&mut self, config: &DispatchConfig, batch: BatchSample) {
        let expected = self.cost.batch_us(batch.work);
        let known = self.reported || self.samples >= config.cost.cold_samples;
        let us = if known {
            batch.us.clamp(expected / config.cost.max_step, expected * config.cost.max_step)
        } else {
            batch.us
        };
        self.samples += 1;
        self.sums.fade(0.5f64.powf(1.0 / HALF_LIFE));
        self.sums.add(1.0, batch.work, us);
        self.cost = self.fit().unwrap_or(self.cost);
    }

    fn fit(&self) -> Option<Cost> {
        let (x, y) = (self.sums.x / self.sums.weight, self.sums.y / self.sums.weight);
        // What was believed, at the level that was seen.
        let believed = self.belief.times(y / self.belief.batch_us(x));
        let mut sums = self.sums;
        for tokens in [0.0, 2.0 * x] {
            sums.add(BELIEF_WEIGHT, tokens, believed.batch_us(tokens));
        }
        // Noise may tilt the line below zero at either end.
        [sums.line(), believed].into_iter().find(Cost::is_usable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(cost: Cost, tokens: f64) -> BatchSample {
        BatchSample { us: cost.batch_us(tokens), work: tokens }
    }

    #[test]
    fn a_cold_prior_finds_a_slow_fleet_within_a_job() {
        let config = DispatchConfig::default();
        let slow = Cost { a_us: 3_000.0, b_us: 150.0 };
        let mut prior = Prior::new(config.cost.prior);
        for tokens in [1_900.0, 2_040.0, 1_700.0, 400.0, 1_950.0, 2_000.0] {
            prior.observe(&config, batch(slow, tokens));
        }
        let found = prior.cost();
        assert!((found.b_us / slow.b_us - 1.0).abs() < 0.25, "{found:?}");
    }

    #[test]
    fn batches_of_one_size_move_the_level_and_not_the_shape() {
        let config = DispatchConfig::default();
        let mut prior = Prior::new(config.cost.prior);
        for noise in [0.0, 1.0, -1.0, 2.0, -2.0] {
            prior.observe(&config, BatchSample { us: 200_000.0 * (1.0 + 0.03 * noise), work: 2_000.0 + noise });
        }
        let found = prior.cost();
        assert!((found.batch_us(2_000.0) / 200_000.0 - 1.0).abs() < 0.02, "{found:?}");
        let shape = found.break_even_tokens() / config.cost.prior.break_even_tokens();
        assert!((0.9..1.1).contains(&shape), "{shape}");
    }
}
