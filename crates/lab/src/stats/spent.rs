//! Tokens by what they were sent for.

use std::ops::AddAssign;

use serde::Serialize;

/// Tokens that clients sent, by kind of attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// First attempts.
    pub first: u64,
    /// Hedges.
    pub hedges: u64,
    /// Retries paid from the budget.
    pub retries: u64,
    /// Retries that were free: the attempt before died in transport.
    pub free: u64,
}

impl Spent {
    /// Hedges and paid retries over first attempts.
    #[must_use]
    pub fn extra(&self) -> f64 {
        (self.hedges + self.retries) as f64 / self.first.max(1) as f64
    }

    /// What was spent since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            first: self.first.saturating_sub(before.first),
            hedges: self.hedges.saturating_sub(before.hedges),
            retries: self.retries.saturating_sub(before.retries),
            free: self.free.saturating_sub(before.free),
        }
    }
}

impl AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        self.first += other.first;
        self.hedges += other.hedges;
        self.retries += other.retries;
        self.free += other.free;
    }
}
