//! What tokenizing did for one model so far. Read by metrics; never reset.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Sums since the model was loaded. Tokens ÷ busy time is the rate of one thread.
#[derive(Debug, Default)]
pub(crate) struct TokenizeStats {
    texts: AtomicU64,
    tokens: AtomicU64,
    busy_us: AtomicU64,
}

impl TokenizeStats {
    /// One thread was busy for `took` with so many inputs and made so many tokens.
    pub(crate) fn note(&self, texts: usize, tokens: usize, took: Duration) {
        self.texts.fetch_add(texts as u64, Ordering::Relaxed);
        self.tokens.fetch_add(tokens as u64, Ordering::Relaxed);
        self.busy_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Inputs read, tokens made of them, and the time threads were busy with that.
    pub(crate) fn sums(&self) -> (u64, u64, Duration) {
        let read = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        (read(&self.texts), read(&self.tokens), Duration::from_micros(read(&self.busy_us)))
    }
}
