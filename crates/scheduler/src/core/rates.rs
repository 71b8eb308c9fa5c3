//! What a token costs in batches of each size, by powers of two: the knee, and what
//! each size has been known to cost. Unlike the line `a + b · tokens` it says nothing of
//! sizes that were not seen.
//!
//! Invariant: a size's least cost is known only once [`MANY`] of it ran.

/// Share of the best throughput that marks the knee: `(a/b)·s/(1−s)` tokens.
/// Beyond four fifths, doubling a batch gains less than 12%.
pub(super) const KNEE_SHARE: f64 = 0.8;

/// Growth of the least cost with each batch of its size: a device that is slower for good is taken for what it is after
/// a thousand batches.
const LEAST_GROWTH: f64 = 1.001;

/// Batches of a size before its mean is taken for more than noise.
const MANY: u32 = 8;

/// Weight of a new batch in its size's rate.
const RATE_WEIGHT: f64 = 0.1;

/// Powers of two of batch sizes: up to 2³² tokens.
const SIZES: usize = 33;

/// Seconds of a token by size of batch; sizes by powers of two.
#[derive(Clone, Debug)]
pub(super) struct Rates([Rate; SIZES]);

#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    /// Mean size; zero while none was seen.
    tokens: f64,
    seconds: f64,
    seen: u32,
    /// Least that `seconds` were, once enough were seen; zero before.
    least: f64,
}

impl Default for Rates {
    fn default() -> Self {
        Self([Rate::default(); SIZES])
    }
}

/// The power of two of a batch.
fn size(tokens: f64) -> usize {
    (tokens.max(1.0).log2() as usize).min(SIZES - 1)
}

impl Rates {
    pub(super) fn observe(&mut self, tokens: f64, seconds: f64) {
        let Some(rate) = self.0.get_mut(size(tokens)) else { return };
        let per_token = seconds / tokens;
        if rate.tokens == 0.0 {
            *rate = Rate { tokens, seconds: per_token, ..Rate::default() };
        } else {
            rate.tokens += RATE_WEIGHT * (tokens - rate.tokens);
            rate.seconds += RATE_WEIGHT * (per_token - rate.seconds);
        }
        rate.seen = rate.seen.saturating_add(1);
        if rate.seen >= MANY {
            let least = rate.least * LEAST_GROWTH;
            rate.least = if least > 0.0 { least.min(rate.seconds) } else { rate.seconds };
        }
    }

    /// Least cost over the present one, at the size of `tokens`.
    pub(super) fn best_recent_ratio(&self, tokens: f64) -> f64 {
        let rate = self.0.get(size(tokens)).filter(|rate| rate.least > 0.0);
        rate.map_or(1.0, |rate| rate.least / rate.seconds)
    }

    pub(super) fn times(&mut self, share: f64) {
        for rate in &mut self.0 {
            rate.seconds *= share;
        }
    }

    /// The smallest size seen from which on every larger one reaches [`KNEE_SHARE`] of
    /// the best rate. If all do, the knee lies below them: `fitted` then, if that is less.
    pub(super) fn knee(&self, fitted: f64) -> f64 {
        let seen = || self.0.iter().filter(|rate| rate.tokens > 0.0);
        let best = seen().map(|rate| rate.seconds).fold(f64::INFINITY, f64::min);
        let mut knee = f64::INFINITY;
        for rate in seen().rev() {
            if rate.seconds * KNEE_SHARE > best {
                // A single size that is slower than a smaller one says nothing of a knee.
                return if knee.is_finite() { knee } else { fitted };
            }
            knee = rate.tokens;
        }
        fitted.min(knee)
    }
}
