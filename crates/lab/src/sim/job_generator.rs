//! Jobs and when they come: a Poisson stream, items of uneven size.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rand_distr::{Distribution as _, StandardNormal};
use sortie_dispatch::{ItemSize, WorkCurve};

use super::scenario::{JobSizes, Scenario};
use crate::{
    arrivals::exponential,
    sizes::{SizeDistribution, log_normal},
};

/// Bytes of a token: English in a BERT vocabulary.
const BYTES_PER_TOKEN: u64 = 4;

/// Bytes of an item's answer: a score.
const ANSWER_BYTES: u64 = 4;

/// σ of the logarithm of an item's tokens: passages of one corpus.
const SPREAD: f64 = 0.6;

/// Least and most tokens of a log-normal item.
const BOUNDS: (f64, f64) = (16.0, 512.0);

/// Rounds in which the middle passage is found: each leaves a fraction of the error.
const ROUNDS: usize = 12;

/// The jobs of a run, the same whatever the clients do with them.
#[derive(Debug)]
pub(crate) struct JobGenerator {
    rng: StdRng,
    mean_gap: Duration,
    /// The mean until then.
    surge: Option<(Duration, Duration)>,
    sizes: JobSizes,
    /// What clients take a text for.
    curve: WorkCurve,
    clients: usize,
}

impl JobGenerator {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            rng: StdRng::seed_from_u64(scenario.seed),
            mean_gap: scenario.mean_gap(),
            surge: scenario.surge.map(|surge| (surge.until, scenario.gap_at(surge.load))),
            sizes: scenario.sizes.clone(),
            curve: scenario.believed_curve(),
            clients: scenario.clients,
        }
    }

    /// Time to the next job.
    pub(crate) fn gap(&mut self, now: Duration) -> Duration {
        let mean = self.surge.filter(|(until, _)| now < *until).map_or(self.mean_gap, |(_, mean)| mean);
        exponential(mean, &mut self.rng)
    }

    /// Passages of a job.
    fn passages(&mut self, job_tokens: u64, items: usize) -> impl Iterator<Item = ItemSize> + use<> {
        let middle = middle(job_tokens as f64 / items as f64);
        let size = |_| item(passage(middle, StandardNormal.sample(&mut self.rng)) as u64, self.curve);
        (0..items).map(size).collect::<Vec<_>>().into_iter()
    }

    /// The client that has it.
    pub(crate) fn client(&mut self) -> usize {
        self.rng.random_range(0..self.clients)
    }

    /// Its items.
    pub(crate) fn job(&mut self) -> Vec<ItemSize> {
        let mut sizes = &self.sizes;
        while let JobSizes::Mixed(all) = sizes {
            let place = self.rng.random_range(0..all.len());
            let Some(one) = all.get(place) else { return Vec::new() };
            sizes = one;
        }
        match *sizes {
            JobSizes::Even { job_tokens, items } => {
                let mean = job_tokens / items as u64;
                let spread = SizeDistribution::Uniform(mean - mean / 2, mean + mean / 2);
                (0..items).map(|_| item(spread.draw(&mut self.rng), self.curve)).collect()
            }
            JobSizes::LogNormal { job_tokens, items } => self.passages(job_tokens, items).collect(),
            JobSizes::WithLong { job_tokens, items, long, long_tokens } => {
                let long = std::iter::repeat_n(item(long_tokens, self.curve), long);
                self.passages(job_tokens, items).chain(long).collect()
            }
            JobSizes::Mixed(_) => Vec::new(),
        }
    }
}

/// Mean work of a job by a curve.
pub(super) fn mean_work(sizes: &JobSizes, curve: WorkCurve) -> f64 {
    if curve == WorkCurve::STRAIGHT {
        return sizes.mean();
    }
    let passages = |job_tokens: u64, items: usize| {
        let middle = middle(job_tokens as f64 / items as f64);
        items as f64 * mean_passage(middle, |tokens| curve.work(tokens as u64) as f64)
    };
    match *sizes {
        JobSizes::Even { job_tokens, items } => {
            let mean = job_tokens / items as u64;
            let all = mean - mean / 2..=mean + mean / 2;
            let count = (all.end() - all.start() + 1) as f64;
            items as f64 * all.map(|tokens| curve.work(tokens) as f64).sum::<f64>() / count
        }
        JobSizes::LogNormal { job_tokens, items } => passages(job_tokens, items),
        JobSizes::WithLong { job_tokens, items, long, long_tokens } => {
            passages(job_tokens, items) + long as f64 * curve.work(long_tokens) as f64
        }
        JobSizes::Mixed(ref all) => {
            all.iter().map(|sizes| mean_work(sizes, curve)).sum::<f64>() / all.len().max(1) as f64
        }
    }
}

/// Tokens of a passage, within bounds.
fn passage(middle: f64, z: f64) -> f64 {
    log_normal(middle, SPREAD, z).clamp(BOUNDS.0, BOUNDS.1)
}

/// The middle passage of those whose mean, within bounds, is `mean`.
fn middle(mean: f64) -> f64 {
    let mut middle = mean;
    for _ in 0..ROUNDS {
        middle *= mean / mean_passage(middle, |tokens| tokens);
    }
    middle
}

/// The mean of something over passages.
fn mean_passage(middle: f64, of: impl Fn(f64) -> f64) -> f64 {
    // Each step of the standard normal distribution counts by its density.
    let grid = || (-40..=40).map(|step| f64::from(step) / 10.0).map(|z| (z, (-z * z / 2.0).exp()));
    let weight: f64 = grid().map(|(_, weight)| weight).sum();
    grid().map(|(z, weight)| weight * of(passage(middle, z))).sum::<f64>() / weight
}

fn item(tokens: u64, curve: WorkCurve) -> ItemSize {
    let tokens = tokens.max(1);
    ItemSize { tokens, work: curve.work(tokens), bytes: tokens * BYTES_PER_TOKEN, answer_bytes: ANSWER_BYTES }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_sizes_have_their_means() {
        let even = JobSizes::Even { job_tokens: 32_000, items: 200 };
        let passages = JobSizes::LogNormal { job_tokens: 51_200, items: 200 };
        let long = JobSizes::WithLong { job_tokens: 51_200, items: 200, long: 3, long_tokens: 8_192 };
        for sizes in [even.clone(), passages.clone(), long.clone(), JobSizes::Mixed(vec![even, passages, long])] {
            let scenario = Scenario { sizes, curve: WorkCurve::new(4_096), ..Scenario::default() };
            let mut load = JobGenerator::new(&scenario);
            let total: Duration = (0..20_000).map(|_| load.gap(Duration::ZERO)).sum();
            let ratio = total.as_secs_f64() / 20_000.0 / scenario.mean_gap().as_secs_f64();
            assert!((0.97..1.03).contains(&ratio), "{ratio}");
            let items: Vec<ItemSize> = (0..400).flat_map(|_| load.job()).collect();
            let mean = |of: fn(&ItemSize) -> u64| items.iter().map(of).sum::<u64>() as f64 / 400.0;
            let tokens = mean(|item| item.tokens) / scenario.sizes.mean();
            let work = mean(|item| item.work) / mean_work(&scenario.sizes, scenario.curve);
            assert!((0.95..1.05).contains(&tokens) && (0.95..1.05).contains(&work), "{tokens} {work} {scenario:?}");
        }
    }
}
