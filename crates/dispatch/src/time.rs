//! A clock reading that somebody else took.
//!
//! This crate never asks for the time: every event comes with it. Virtual and
//! real clocks look the same.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

/// Time since whatever moment its driver calls the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Duration);

impl Time {
    /// The moment `elapsed` after the start.
    #[must_use]
    pub const fn from_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// Time since the start.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        self.0
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    /// A moment too far to name is the last that can be named.
    fn add(self, after: Duration) -> Time {
        Time(self.0.saturating_add(after))
    }
}

impl Sub for Time {
    type Output = Duration;

    /// Time from `earlier` until this; none if it is later.
    fn sub(self, earlier: Time) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
