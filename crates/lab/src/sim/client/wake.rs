//! Timers of clients.

use std::time::Duration;

/// A timer of which only the last setting counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wake {
    wanted: Option<Duration>,
    scheduled: Option<Duration>,
}

impl Wake {
    /// Sets it; when an event is to be scheduled for it, if one is.
    pub(super) fn set(&mut self, at: Duration) -> Option<Duration> {
        self.wanted = Some(at);
        let needed = self.scheduled.is_none_or(|scheduled| at < scheduled);
        if needed {
            self.scheduled = Some(at);
        }
        needed.then_some(at)
    }

    /// An event scheduled for it happens: whether it is time, or when to come back.
    pub(super) fn ring(&mut self, now: Duration) -> Result<(), Option<Duration>> {
        if self.scheduled.is_some_and(|scheduled| scheduled <= now) {
            self.scheduled = None;
        }
        match self.wanted {
            Some(at) if at <= now => {
                self.wanted = None;
                Ok(())
            }
            Some(at) => Err(self.set(at)),
            None => Err(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_setting_of_a_timer_counts() {
        let ms = Duration::from_millis;
        let mut wake = Wake::default();
        assert_eq!(wake.set(ms(10)), Some(ms(10)));
        assert_eq!(wake.set(ms(20)), None, "the event at 10 is enough");
        assert_eq!(wake.ring(ms(10)), Err(Some(ms(20))));
        assert_eq!(wake.set(ms(15)), Some(ms(15)));
        assert_eq!(wake.ring(ms(15)), Ok(()));
        assert_eq!(wake.ring(ms(20)), Err(None));
    }
}
