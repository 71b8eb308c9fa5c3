//! A batch that ran.

/// A batch that ran.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchSample {
    /// Its time on the device, in microseconds.
    pub us: f64,
    /// Its work in tokens, other callers' included.
    pub work: f64,
}

impl BatchSample {
    pub(crate) fn is_usable(&self) -> bool {
        self.us.is_finite() && self.us > 0.0 && self.work.is_finite() && self.work >= 1.0
    }
}
