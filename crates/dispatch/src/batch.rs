//! A batch that ran.

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
