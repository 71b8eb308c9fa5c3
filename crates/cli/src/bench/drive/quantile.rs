//! A running quantile of latencies for hand-written hedging: the last full window's.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies in a window: at 97% thirty of them lie above.
const WINDOW: u64 = 1_000;

/// Longest latency told apart: a minute.
const LONGEST_US: u64 = 60_000_000;

/// A quantile of the latencies of the last full window.
#[derive(Debug)]
pub(super) struct WindowQuantile {
    quantile: f64,
    window: Option<Histogram<u64>>,
    value: Option<Duration>,
}

impl WindowQuantile {
    /// Knows nothing until the first window is full.
    pub(super) fn new(quantile: f64) -> Self {
        Self { quantile, window: Histogram::new_with_bounds(1, LONGEST_US, 2).ok(), value: None }
    }

    /// Takes one more latency.
    pub(super) fn add(&mut self, latency: Duration) {
        let Some(window) = &mut self.window else { return };
        window.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        if window.len() >= WINDOW {
            self.value = Some(Duration::from_micros(window.value_at_quantile(self.quantile)));
            window.reset();
        }
    }

    /// The quantile, once known.
    pub(super) fn value(&self) -> Option<Duration> {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_full_window_counts() {
        let mut quantile = WindowQuantile::new(0.97);
        for n in 1..WINDOW {
            quantile.add(Duration::from_micros(n * 10));
        }
        assert_eq!(quantile.value(), None);
        quantile.add(Duration::from_millis(10));
        let value = quantile.value().unwrap();
        assert!((value.as_secs_f64() / 9.7e-3 - 1.0).abs() < 0.02, "{value:?}");
    }
}
