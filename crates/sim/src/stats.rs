//! Latencies by rank.

use std::time::Duration;

/// Latencies of finished jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// Adds a job's.
    pub fn push(&mut self, latency: Duration) {
        self.0.push(latency);
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
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (q.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), Duration::ZERO);
        (1..=100).rev().for_each(|ms| latencies.push(Duration::from_millis(ms)));
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|q| latencies.quantile(q).as_millis()), [1, 50, 99, 100]);
    }
}
