//! What a batch costs, `T = a + b · tokens`, where the tokens are [work](crate::WorkCurve): a long text counts more than it has.

/// The cost of a batch, in microseconds. The default costs nothing, which is "not known" ([`Cost::is_usable`]).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Of a batch, whatever its size.
    pub a_us: f64,
    /// Of one token.
    pub b_us: f64,
}

impl Cost {
    /// Microseconds that a batch of `tokens` takes.
    #[must_use]
    pub fn batch_us(&self, tokens: f64) -> f64 {
        self.a_us + self.b_us * tokens
    }

    /// Seconds that a batch of `tokens` takes.
    #[must_use]
    pub fn batch_seconds(&self, tokens: u64) -> f64 {
        self.batch_us(tokens as f64) / 1e6
    }

    /// Seconds of `tokens` cut into batches of at most `budget` tokens.
    #[must_use]
    pub fn queue_seconds(&self, tokens: u64, budget: usize) -> f64 {
        let batches = tokens.div_ceil(budget.max(1) as u64);
        (self.a_us * batches as f64 + self.b_us * tokens as f64) / 1e6
    }

    /// Tokens a second in full batches of `budget` tokens.
    #[must_use]
    pub fn rate(&self, budget: usize) -> f64 {
        budget as f64 / self.batch_seconds(budget as u64)
    }

    /// Tokens below which more than half of a batch is overhead.
    #[must_use]
    pub fn break_even_tokens(&self) -> f64 {
        self.a_us / self.b_us
    }

    /// The same work at another pace.
    #[must_use]
    pub fn times(self, pace: f64) -> Self {
        Self { a_us: self.a_us * pace, b_us: self.b_us * pace }
    }

    /// Whether it is finite and positive, so that it can be used.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.a_us.is_finite() && self.a_us >= 0.0 && self.b_us.is_finite() && self.b_us > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_its_batches() {
        let cost = Cost { a_us: 1_000.0, b_us: 0.5 };
        assert_eq!(cost.batch_us(2_000.0), 2_000.0);
        assert_eq!(cost.batch_seconds(2_000), 0.002);
        assert_eq!(cost.queue_seconds(5_000, 2_000), 0.0055);
        assert_eq!(cost.rate(2_000), 1e6);
        assert_eq!((cost.break_even_tokens(), cost.times(2.0)), (2_000.0, Cost { a_us: 2_000.0, b_us: 1.0 }));
        assert!(cost.is_usable() && !Cost::default().is_usable() && !cost.times(f64::NAN).is_usable());
    }
}
