//! Devices, what is asked of them, and who asks.

use std::time::Duration;

use sortie_dispatch::Cost;

use crate::Strategy;

/// A device and what is asked of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Its name.
    pub name: &'static str,
    /// What a batch costs.
    pub cost: Cost,
    /// Tokens in a batch.
    pub budget: u64,
    /// Longest a job may take.
    pub deadline: Duration,
    /// Time that a call takes from the device.
    pub call_cost: Duration,
    /// Tokens and items of its jobs, by name.
    pub jobs: [(&'static str, u64, usize); 2],
}

impl Shape {
    /// The shapes that are known: `fast` and `slow` of `cargo xtask bench overload`, `slow` whose processor also reads
    /// the calls, and the demo's reranker on one core.
    #[must_use]
    pub fn all() -> [Self; 4] {
        let slow = Self {
            name: "slow",
            cost: Cost { a_us: 1_000.0, b_us: 160.0 },
            budget: 1_024,
            deadline: Duration::from_secs(1),
            call_cost: Duration::ZERO,
            jobs: [("small", 440, 4), ("large", 1_760, 16)],
        };
        let fast = Self {
            name: "fast",
            cost: Cost { a_us: 1_000.0, b_us: 4.6 },
            budget: 4_096,
            deadline: Duration::from_millis(300),
            call_cost: Duration::ZERO,
            jobs: [("small", 2_100, 14), ("large", 16_000, 100)],
        };
        let shared = Self { name: "shared", call_cost: Duration::from_micros(300), ..slow.clone() };
        let heavy = Self { name: "heavy", cost: Cost { a_us: 2_000.0, b_us: 350.0 }, ..slow.clone() };
        [fast, slow, shared, heavy]
    }

    /// Tokens a second of one server in full batches.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        self.cost.rate(usize::try_from(self.budget).unwrap_or(usize::MAX))
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callers {
    /// Their name.
    pub name: &'static str,
    /// One client each, over and over.
    pub mix: &'static [Strategy],
    /// Whether each kind is a tenant of its own.
    pub apart: bool,
}

impl Callers {
    /// All that are known.
    pub const ALL: [Self; 6] = {
        use Strategy::{NoRetry, RetryAtOnce, Sortie, WholeJob};
        const fn alone(name: &'static str, mix: &'static [Strategy]) -> Callers {
            Callers { name, mix, apart: false }
        }
        [
            alone("no-retry", &[NoRetry]),
            alone("retry-at-once", &[RetryAtOnce]),
            alone("whole-job", &[WholeJob]),
            alone("sortie", &[Sortie]),
            alone("mixed", &[Sortie, NoRetry, RetryAtOnce, Sortie, RetryAtOnce]),
            Self {
                name: "foreign",
                mix: &[Sortie, Sortie, RetryAtOnce, Sortie, Sortie, RetryAtOnce, Sortie, Sortie, RetryAtOnce, Sortie],
                apart: true,
            },
        ]
    };
}
