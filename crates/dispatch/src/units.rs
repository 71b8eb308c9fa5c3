//! What a batch costs, `T = a + b · tokens`, and a batch that ran.

/// The cost of a batch, in microseconds.
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

    /// Whether it is finite and positive, so that it can be used.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.a_us.is_finite() && self.a_us >= 0.0 && self.b_us.is_finite() && self.b_us > 0.0
    }

    /// The same work at another pace.
    #[must_use]
    pub fn times(self, pace: f64) -> Self {
        Self { a_us: self.a_us * pace, b_us: self.b_us * pace }
    }

    /// Tokens below which more than half of a batch is overhead.
    #[must_use]
    pub fn break_even_tokens(&self) -> f64 {
        self.a_us / self.b_us
    }
}

/// A batch that ran.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchSample {
    /// Its time on the device, in microseconds.
    pub us: f64,
    /// Its tokens, other callers' included.
    pub tokens: f64,
}

impl BatchSample {
    pub(crate) fn is_usable(&self) -> bool {
        self.us.is_finite() && self.us > 0.0 && self.tokens.is_finite() && self.tokens >= 1.0
    }
}
