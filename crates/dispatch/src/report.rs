//! What servers say of themselves: load, cost and limits.

use std::time::Duration;

use sortie_work::Cost;

/// What a request may hold. Zero means that a server did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Tokens in one batch on the device.
    pub max_batch_tokens: u64,
    /// Items in one request.
    pub max_items: u64,
    /// Bytes of one message, either way.
    pub max_message_bytes: u64,
    /// Tokens that may wait in the queue.
    pub max_queue_tokens: u64,
    /// True of a gateway, which cuts jobs and hedges by itself: jobs go to it whole, and are not hedged.
    pub cuts_jobs: bool,
}

impl Limits {
    /// These limits, and `other`'s where these say nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let or = |a: u64, b: u64| if a == 0 { b } else { a };
        Self {
            max_batch_tokens: or(self.max_batch_tokens, other.max_batch_tokens),
            max_items: or(self.max_items, other.max_items),
            max_message_bytes: or(self.max_message_bytes, other.max_message_bytes),
            max_queue_tokens: or(self.max_queue_tokens, other.max_queue_tokens),
            cuts_jobs: self.cuts_jobs || other.cuts_jobs,
        }
    }

    /// What both allow.
    #[must_use]
    pub fn both(self, other: Self) -> Self {
        Self {
            max_batch_tokens: self.max_batch_tokens.min(other.max_batch_tokens),
            max_items: self.max_items.min(other.max_items),
            max_message_bytes: self.max_message_bytes.min(other.max_message_bytes),
            max_queue_tokens: self.max_queue_tokens.min(other.max_queue_tokens),
            cuts_jobs: self.cuts_jobs || other.cuts_jobs,
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        [self.max_batch_tokens, self.max_items, self.max_message_bytes, self.max_queue_tokens].iter().all(|&x| x > 0)
    }
}

/// A server's report on one model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadReport {
    /// Reports of another epoch say nothing of this one.
    pub epoch: u64,
    /// Time until a request that arrives now would start.
    pub queue_wait: Duration,
    /// What its batches cost, by its own measure; not usable where it has none.
    pub cost: Cost,
    /// What a request may hold.
    pub limits: Limits,
    /// Whether it is about to stop and takes no more work.
    pub draining: bool,
    /// Share of the last second that the device was at work, 0 to 1.
    pub busy: f64,
    /// Tokens a second that it ran, averaged over seconds; 0 where it does not say.
    pub served_tokens_per_second: f64,
    /// Tokens a second while full batches run back to back, all its devices together; 0 where it does not say.
    pub rate_tokens_per_second: f64,
    /// Age of the running batch over its predicted time; above 1 it is overdue.
    pub overdue: f64,
}

impl LoadReport {
    /// Tokens a second that it could run without the overhead of batches, all devices together:
    /// `rate · (1 + a / (b · max batch))`, which is `1 / b` a device; where it does not say its rate, `1 / b`.
    pub(crate) fn most_tokens_per_second(&self) -> f64 {
        let usable = self.cost.is_usable();
        if !(self.rate_tokens_per_second.is_finite() && self.rate_tokens_per_second > 0.0) {
            return if usable { 1e6 / self.cost.b_us } else { 0.0 };
        }
        let most = self.limits.max_batch_tokens as f64;
        let overhead = if usable && most > 0.0 { self.cost.break_even_tokens() / most } else { 0.0 };
        self.rate_tokens_per_second * (1.0 + overhead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_is_without_overhead_and_of_all_devices() {
        let cost = Cost { a_us: 500.0, b_us: 0.5 };
        let limits = Limits { max_batch_tokens: 4_000, ..Limits::default() };
        let full = 4_000.0 / (500.0 + 2_000.0) * 1e6;
        let report =
            |rate_tokens_per_second| LoadReport { cost, limits, rate_tokens_per_second, ..LoadReport::default() };
        assert!((report(full).most_tokens_per_second() / 2e6 - 1.0).abs() < 1e-9);
        assert!((report(2.0 * full).most_tokens_per_second() / 4e6 - 1.0).abs() < 1e-9);
        assert!((report(f64::NAN).most_tokens_per_second() / 2e6 - 1.0).abs() < 1e-9);
        assert!(LoadReport::default().most_tokens_per_second() <= 0.0);
    }
}
