//! A server, and the machine and network that it stands on.

use std::time::Duration;

use sortie_dispatch::LoadReport;

use super::event::Arrival;
use crate::sim::{
    chunk::Key,
    scenario::Scenario,
    server::{DeviceModel, SimServer},
};

/// Whether a server can be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    /// It can.
    Up,
    /// Connections are refused.
    Down,
    /// Packets vanish.
    BlackHole,
}

/// A server and what it stands on.
#[derive(Debug)]
pub(super) struct HostState {
    pub(super) server: SimServer,
    pub(super) link: LinkState,
    /// Fails every chunk.
    pub(super) failing: bool,
    /// Stopped until then; what arrived meanwhile.
    pub(super) stopped_until: Duration,
    pub(super) waiting: Vec<Arrival>,
    /// Grows with every process: events of a dead one are void.
    pub(super) life: u32,
    pub(super) poll_at: Option<Duration>,
    /// What calls took from the device since its last batch began.
    pub(super) calls: Duration,
    /// Attempts that vanished in a black hole.
    pub(super) vanished: Vec<Key>,
    pub(super) gone: bool,
}

impl HostState {
    pub(super) fn new(device: DeviceModel, now: Duration) -> Self {
        Self {
            server: SimServer::new(device, 1.0, 1, now),
            link: LinkState::Up,
            failing: false,
            stopped_until: Duration::ZERO,
            waiting: Vec::new(),
            life: 1,
            poll_at: None,
            calls: Duration::ZERO,
            vanished: Vec::new(),
            gone: false,
        }
    }

    /// What it says of itself, where it does.
    pub(super) fn report(&mut self, now: Duration, scenario: &Scenario) -> Option<LoadReport> {
        scenario.reports.then(|| self.server.report(now))
    }

    /// No poll is scheduled for the process that is new.
    pub(super) fn forget_poll(&mut self) {
        self.poll_at = None;
    }
}
