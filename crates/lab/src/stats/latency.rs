//! Quantiles by nearest rank, of samples that are all kept. What grows without end is counted in HDR histograms
//! instead: see [`crate::bench`].

use std::{cmp::Ordering, time::Duration};

/// The least value that a share `q` of them does not exceed; none of none. They are put in another order.
pub fn nearest_rank<T: Copy>(values: &mut [T], q: f64, order: impl FnMut(&T, &T) -> Ordering) -> Option<T> {
    let rank = (q.clamp(0.0, 1.0) * values.len() as f64).ceil() as usize;
    let place = rank.saturating_sub(1);
    (place < values.len()).then(|| *values.select_nth_unstable_by(place, order).1)
}

/// The same of numbers; no number of none.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> f64 {
    nearest_rank(&mut values.to_vec(), q, f64::total_cmp).unwrap_or(f64::NAN)
}

/// Latencies of jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencySamples(Vec<Duration>);

impl LatencySamples {
    /// Adds a job's.
    pub fn push(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    /// Adds another run's.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The least latency that a share `q` of the jobs did not exceed (nearest rank); zero without jobs.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Duration {
        nearest_rank(&mut self.0.clone(), q, Duration::cmp).unwrap_or_default()
    }

    /// The same in milliseconds.
    #[must_use]
    pub fn ms(&self, q: f64) -> f64 {
        self.quantile(q).as_secs_f64() * 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank() {
        let mut latencies = LatencySamples::default();
        assert_eq!(latencies.quantile(0.5), Duration::ZERO);
        (1..=100).rev().for_each(|ms| latencies.push(Duration::from_millis(ms)));
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|q| latencies.quantile(q).as_millis()), [1, 50, 99, 100]);
    }
}
