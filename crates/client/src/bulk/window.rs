//! How many slices are under way: additive increase, multiplicative decrease, between
//! one and what keeps every server at its knee.
//!
//! `w ← w + 1/w` with each answer, so by one a round; `w ← w/2` where the fleet is
//! overloaded, at most once a round: refusals that come together are one overload.

use std::time::Duration;

use tokio::time::Instant;

/// Least time between two halvings: slices sent before the first are still coming back.
const ROUND: Duration = Duration::from_secs(1);

/// The window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    now: f64,
    most: usize,
    halved: Option<Instant>,
}

impl Window {
    /// Open as far as it goes.
    pub(super) fn new(most: usize) -> Self {
        Self { now: most.max(1) as f64, most: most.max(1), halved: None }
    }

    /// The fleet grew or shrank. A window that was not held down follows.
    pub(super) fn set_most(&mut self, most: usize) {
        let open = self.now >= self.most as f64;
        self.most = most.max(1);
        self.now = if open { self.most as f64 } else { self.now.min(self.most as f64) };
    }

    pub(super) fn slices(&self) -> usize {
        (self.now as usize).clamp(1, self.most)
    }

    pub(super) fn answered(&mut self) {
        self.now = (self.now + 1.0 / self.now).min(self.most as f64);
    }

    pub(super) fn overloaded(&mut self, now: Instant) {
        if self.halved.is_none_or(|at| now.saturating_duration_since(at) >= ROUND) {
            self.halved = Some(now);
            self.now = (self.now / 2.0).max(1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overload_halves_once_a_round_and_answers_open_again() {
        let start = Instant::now();
        let mut window = Window::new(16);
        for _ in 0..5 {
            window.overloaded(start);
        }
        assert_eq!(window.slices(), 8);
        for _ in 0..20 {
            window.overloaded(start + ROUND * 2);
        }
        assert_eq!(window.slices(), 4);
        for _ in 0..5 {
            window.answered();
        }
        assert_eq!(window.slices(), 5);
        for _ in 0..1_000 {
            window.answered();
        }
        assert_eq!(window.slices(), 16);
        for round in 0..100 {
            window.overloaded(start + ROUND * (10 + round));
        }
        assert_eq!(window.slices(), 1);
    }

    #[test]
    fn an_open_window_follows_the_fleet_and_one_held_down_does_not() {
        let mut window = Window::new(4);
        window.set_most(8);
        assert_eq!(window.slices(), 8);
        window.overloaded(Instant::now());
        window.set_most(12);
        assert_eq!(window.slices(), 4);
        window.set_most(2);
        assert_eq!(window.slices(), 2);
    }
}
