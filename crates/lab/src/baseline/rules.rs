//! What a baseline is: how it cuts, whom it sends to, what it sends again.

use std::time::Duration;

use sortie_dispatch::{
    Cost, Failure,
    config::{BudgetConfig, HedgeConfig},
};

use crate::micros;

/// Attempts of one chunk that gRPC allows at most, hedges not counted (gRFC A6).
const MOST_ATTEMPTS: u32 = 5;

/// How a job becomes chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// One chunk.
    Whole,
    /// So many items a chunk, in their order.
    Items(usize),
    /// So many chunks of even work: the longest item first, each to the chunk with the fewest tokens.
    Chunks(usize),
}

/// How a server is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn.
    InTurn,
    /// At random.
    Random,
    /// Of two at random the one with fewer requests of ours (power of two choices on local counts, as in tower, gRFC
    /// A48 and Envoy).
    TwoChoices,
    /// The one with the fewest tokens of ours.
    LeastTokens,
}

/// Failures after which a chunk is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// Any.
    Anything,
    /// A refusal, or a connection that is lost.
    Refusal,
    /// `UNAVAILABLE` only.
    Unavailable,
}

/// When a chunk whose attempt failed is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryRule {
    /// Attempts of one chunk, hedges not counted.
    pub attempts: u32,
    /// After what.
    pub on: RetryOn,
    /// Whether to a server that the chunk was not sent to.
    pub elsewhere: bool,
    /// Whether attempts say which of their chunk they are; without it each claims to be the first.
    pub numbered: bool,
}

impl RetryRule {
    /// Never: a stub without a policy.
    pub const NEVER: Self = Self { attempts: 1, on: RetryOn::Refusal, elsewhere: false, numbered: false };
    /// At once, wherever the turn is: a stub in a loop, which knows nothing of numbers and heeds no pushback.
    pub const AT_ONCE: Self = Self { attempts: MOST_ATTEMPTS, ..Self::NEVER };
    /// Elsewhere after anything, as a careful service does.
    pub const ELSEWHERE: Self =
        Self { attempts: MOST_ATTEMPTS, on: RetryOn::Anything, elsewhere: true, numbered: true };

    /// Whether a failure may be followed by an attempt.
    pub(super) fn covers(&self, failure: Failure) -> bool {
        match self.on {
            RetryOn::Anything => true,
            RetryOn::Refusal => {
                matches!(failure, Failure::Overloaded { .. } | Failure::Unavailable | Failure::Transport)
            }
            RetryOn::Unavailable => matches!(failure, Failure::Unavailable | Failure::Transport),
        }
    }
}

/// The rules of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaselineRules {
    /// How it cuts.
    pub cut: Cut,
    /// Whom it sends to.
    pub balance: Balance,
    /// What it sends again.
    pub retry: RetryRule,
    /// Whether it hedges a late chunk, once, from a budget.
    pub hedges: bool,
}

/// What a baseline is given to work with.
#[derive(Clone, Debug)]
pub struct BaselineSetup {
    /// Its rules.
    pub rules: BaselineRules,
    /// Servers at the start, numbered from 0.
    pub servers: usize,
    /// Longest a job may take.
    pub deadline: Duration,
    /// What a chunk is taken to need on an idle server; latencies count as multiples of it.
    pub expected: ExpectedTime,
    /// When an attempt is late.
    pub hedge: HedgeConfig,
    /// What hedges may add.
    pub budget: BudgetConfig,
    /// Whether a hedge goes to a server that the chunk was not sent to.
    pub exclusion: bool,
    /// Place of the first server of those that take turns.
    pub turn: usize,
    /// Where its chance comes from.
    pub seed: u64,
}

/// What an attempt takes where nobody else is: a batch, there and back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpectedTime {
    /// What a batch costs.
    pub cost: Cost,
    /// There and back.
    pub round_trip: Duration,
}

impl ExpectedTime {
    /// A millisecond whatever the chunk: for clients that know nothing of cost, so that multiples are milliseconds.
    pub const UNKNOWN: Self = Self { cost: Cost { a_us: 1_000.0, b_us: 0.0 }, round_trip: Duration::ZERO };

    /// Of a chunk of so many tokens.
    pub(super) fn of(&self, tokens: u64) -> Duration {
        micros(self.cost.batch_us(tokens as f64)) + self.round_trip
    }
}
