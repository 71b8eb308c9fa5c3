//! When things come: without memory.

use std::time::Duration;

use rand::Rng;
use rand_distr::{Distribution as _, Exp1};

/// A time of this mean whatever has passed: between two arrivals of a Poisson stream, to the next stop of a process.
pub fn exponential(mean: Duration, rng: &mut impl Rng) -> Duration {
    let times: f64 = Exp1.sample(rng);
    Duration::try_from_secs_f64(times * mean.as_secs_f64()).unwrap_or(Duration::MAX)
}
