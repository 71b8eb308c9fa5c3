//! Where the process stands in its life, for whoever asks from outside a request.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Models load; nothing is taken.
const STARTING: u8 = 0;
/// Work is taken.
const SERVING: u8 = 1;
/// A stop was asked for.
const DRAINING: u8 = 2;

/// One process's stand. It only ever moves on; what answers behind it may come and go.
#[derive(Debug, Default)]
pub(crate) struct Phase {
    stage: AtomicU8,
    /// Nothing behind the process answers now.
    lost: AtomicBool,
}

impl Phase {
    /// Work is taken from now on.
    pub(crate) fn serving(&self) {
        self.stage.fetch_max(SERVING, Ordering::Relaxed);
    }

    /// A stop was asked for.
    pub(crate) fn draining(&self) {
        self.stage.fetch_max(DRAINING, Ordering::Relaxed);
    }

    /// Whether what is behind the process answers.
    pub(crate) fn answering(&self, answers: bool) {
        self.lost.store(!answers, Ordering::Relaxed);
    }

    /// Whether work is taken, or a word for why not.
    pub(crate) fn ready(&self) -> Result<(), &'static str> {
        match self.stage.load(Ordering::Relaxed) {
            STARTING => Err("starting: models load"),
            SERVING if self.lost.load(Ordering::Relaxed) => Err("waiting: no server is ready"),
            SERVING => Ok(()),
            _ => Err("draining: a stop was asked for"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_only_moves_on() {
        let phase = Phase::default();
        assert!(phase.ready().is_err());
        phase.serving();
        assert_eq!(phase.ready(), Ok(()));
        phase.answering(false);
        assert!(phase.ready().unwrap_err().starts_with("waiting"));
        phase.answering(true);
        assert_eq!(phase.ready(), Ok(()));
        phase.draining();
        phase.serving();
        assert!(phase.ready().unwrap_err().starts_with("draining"));
    }
}
