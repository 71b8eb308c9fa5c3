//! Jobs and when they come: a Poisson stream, items of uneven size.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sortie_dispatch::Item;

use crate::scenario::Scenario;

/// Bytes of a token: English in a BERT vocabulary.
const BYTES_PER_TOKEN: u64 = 4;

/// Bytes of an item's answer: a score.
const ANSWER_BYTES: u64 = 4;

/// The jobs of a run, the same whatever the clients do with them.
#[derive(Debug)]
pub(crate) struct Load {
    rng: StdRng,
    mean_gap: Duration,
    mean_tokens: u64,
    items: usize,
    clients: usize,
}

impl Load {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            rng: StdRng::seed_from_u64(scenario.seed),
            mean_gap: scenario.mean_gap(),
            mean_tokens: scenario.job_tokens / scenario.items as u64,
            items: scenario.items,
            clients: scenario.clients,
        }
    }

    /// Time to the next job: `−mean · ln(1 − u)`.
    pub(crate) fn gap(&mut self) -> Duration {
        let u: f64 = self.rng.random();
        self.mean_gap.mul_f64(-(1.0 - u).ln())
    }

    /// The client that has it.
    pub(crate) fn client(&mut self) -> usize {
        self.rng.random_range(0..self.clients)
    }

    /// Its items.
    pub(crate) fn job(&mut self) -> Vec<Item> {
        let (least, most) = (self.mean_tokens - self.mean_tokens / 2, self.mean_tokens + self.mean_tokens / 2);
        let item = |_| {
            let tokens = self.rng.random_range(least..=most).max(1);
            Item { tokens, bytes: tokens * BYTES_PER_TOKEN, answer_bytes: ANSWER_BYTES }
        };
        (0..self.items).map(item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_sizes_have_their_means() {
        let scenario = Scenario::default();
        let mut load = Load::new(&scenario);
        let total: Duration = (0..20_000).map(|_| load.gap()).sum();
        let ratio = total.as_secs_f64() / 20_000.0 / scenario.mean_gap().as_secs_f64();
        assert!((0.97..1.03).contains(&ratio), "{ratio}");
        let tokens: u64 = (0..100).flat_map(|_| load.job()).map(|item| item.tokens).sum();
        let ratio = tokens as f64 / 100.0 / scenario.job_tokens as f64;
        assert!((0.98..1.02).contains(&ratio), "{ratio}");
    }
}
