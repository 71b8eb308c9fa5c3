//! All chance of a run that is not the load's: service noise, network, stalls.
//!
//! Invariant: one stream from one seed, so that a run repeats.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rand_distr::{Distribution as _, StandardNormal};

use super::scenario::Network;
use crate::arrivals::exponential;

/// Service is never faster than this share of its mean: noise has a floor.
const FASTEST: f64 = 0.2;

/// Where chance comes from.
#[derive(Debug)]
pub(crate) struct RandomSource(StdRng);

impl RandomSource {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// One way through the network.
    pub(crate) fn one_way(&mut self, network: &Network) -> Duration {
        network.one_way + self.exponential(network.tail)
    }

    /// Whether a probe gets lost.
    pub(crate) fn loses(&mut self, network: &Network) -> bool {
        network.probe_loss > 0.0 && self.0.random_bool(network.probe_loss)
    }

    /// A time of this mean, memoryless.
    pub(crate) fn exponential(&mut self, mean: Duration) -> Duration {
        exponential(mean, &mut self.0)
    }

    /// A time up to this, evenly.
    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.0.random::<f64>())
    }

    /// What a service time is multiplied by.
    pub(crate) fn service(&mut self, noise: f64) -> f64 {
        if noise <= 0.0 {
            return 1.0;
        }
        let normal: f64 = StandardNormal.sample(&mut self.0);
        (1.0 + noise * normal).max(FASTEST)
    }
}
