//! A door that tests open: scripted calls wait at it, so that a test decides when
//! they go on, with no sleeps.
//!
//! Counts calls that came, and calls that were given up while they waited: that is
//! how a cancel is seen to reach a server.

use std::sync::Arc;

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, Default)]
struct GateState {
    open: bool,
    entered: usize,
    dropped: usize,
}

/// A door, closed at first. Clones are the same door.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    state: Arc<watch::Sender<GateState>>,
}

impl Gate {
    /// A closed door.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everyone through from now on.
    pub fn open(&self) {
        self.state.send_modify(|state| state.open = true);
    }

    /// Waits at the door. Dropped before it opened, the wait counts as given up.
    pub async fn pass(&self) {
        self.state.send_modify(|state| state.entered += 1);
        let mut waiting = Waiting { gate: self, through: false };
        self.until(|state| state.open).await;
        waiting.through = true;
    }

    /// Waits until so many calls have come to the door.
    pub async fn entered(&self, calls: usize) {
        self.until(|state| state.entered >= calls).await;
    }

    /// Waits until so many calls were given up at the door.
    pub async fn dropped(&self, calls: usize) {
        self.until(|state| state.dropped >= calls).await;
    }

    async fn until(&self, holds: impl FnMut(&GateState) -> bool) {
        // The sender lives in `self`, so the channel cannot close meanwhile.
        let _ = self.state.subscribe().wait_for(holds).await;
    }
}

struct Waiting<'a> {
    gate: &'a Gate,
    through: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.through {
            self.gate.state.send_modify(|state| state.dropped += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_wait_until_it_opens_and_leaving_counts() {
        let gate = Gate::new();
        let mut first = Box::pin(gate.pass());
        assert!(futures::poll!(&mut first).is_pending());
        gate.entered(1).await;
        drop(first);
        gate.dropped(1).await;
        let mut second = Box::pin(gate.pass());
        assert!(futures::poll!(&mut second).is_pending());
        gate.open();
        second.await;
        gate.pass().await;
        gate.entered(3).await;
    }
}
