//! Faults: what stops, slows, kills and replaces servers, and how clients come to hear of it.
//!
//! Clients hear of a dead connection after one way through the network, of a vanished one by keepalive, of
//! a server that is back when they have connected again, of one that joined or went from discovery.

use std::time::Duration;

use sortie_dispatch::Failure;

use super::{
    World,
    event::{Arrival, FaultStep, WorldEvent},
    host::{HostState, LinkState},
};
use crate::{
    fault::Fault,
    sim::{chunk::Key, client::ServerEvent, server::SimServer},
};

/// Time until keepalive ends a connection that is silent: the client library's interval and timeout.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Longest until a client has connected again to a server that is back.
const RECONNECT: Duration = Duration::from_millis(200);

/// Longest until discovery has told a client.
const DISCOVERY: Duration = Duration::from_secs(1);

/// Time between being told to stop and stopping.
const GRACE: Duration = Duration::from_secs(2);

/// Time until a server's replacement runs.
const START: Duration = Duration::from_millis(1_500);

impl World<'_> {
    /// What the scenario says will happen.
    pub(super) fn schedule_faults(&mut self) {
        for (number, incident) in self.scenario.incidents.iter().enumerate() {
            self.clock.at(incident.at, WorldEvent::Incident(number));
        }
        if let Some(stalls) = self.scenario.stalls {
            for server in (0..self.hosts.len()).step_by(stalls.together.max(1)) {
                let pause = self.random.exponential(stalls.every);
                self.clock.after(pause, WorldEvent::StallNext(server));
            }
        }
    }

    pub(super) fn stall_next(&mut self, first: usize) {
        let Some(stalls) = self.scenario.stalls else { return };
        let length = self.random.exponential(stalls.length);
        for server in first..first + stalls.together.max(1) {
            self.stall(server, length);
        }
        let pause = self.random.exponential(stalls.every);
        self.clock.after(pause, WorldEvent::StallNext(first));
    }

    fn stall(&mut self, place: usize, length: Duration) {
        let until = self.clock.now() + length;
        if let Some(host) = self.hosts.get_mut(place) {
            host.stopped_until = host.stopped_until.max(until);
            self.clock.at(host.stopped_until, WorldEvent::Resume(place));
        }
    }

    pub(super) fn incident(&mut self, number: usize) {
        let scenario = self.scenario;
        let Some(incident) = scenario.incidents.get(number) else { return };
        for &server in &incident.servers {
            self.inject_fault(server, incident.fault);
        }
    }

    fn inject_fault(&mut self, place: usize, fault: Fault) {
        if fault == Fault::Join {
            return self.join();
        }
        let now = self.clock.now();
        let Some(host) = self.hosts.get_mut(place).filter(|host| !host.gone) else { return };
        match fault {
            Fault::Join => {}
            Fault::Stall(length) => self.stall(place, length),
            Fault::Pace(pace) => host.server.pace = pace,
            Fault::Failing(failing) => host.failing = failing,
            Fault::Crash(back) => {
                self.die(place);
                if let Some(after) = back {
                    self.clock.after(after, WorldEvent::FaultStep(place, FaultStep::Back));
                }
            }
            Fault::BlackHole(clear) => {
                host.link = LinkState::BlackHole;
                self.clock.after(KEEPALIVE, WorldEvent::FaultStep(place, FaultStep::Dead(now)));
                if let Some(after) = clear {
                    self.clock.after(after, WorldEvent::FaultStep(place, FaultStep::Clear));
                }
            }
            Fault::Replace => {
                self.clock.after(START, WorldEvent::FaultStep(place, FaultStep::Replacement));
                self.clock.after(START + DISCOVERY, WorldEvent::FaultStep(place, FaultStep::Drain));
            }
        }
    }

    pub(super) fn fault_step(&mut self, place: usize, step: FaultStep) {
        let Some(host) = self.hosts.get_mut(place) else { return };
        match step {
            FaultStep::Back => {
                host.link = LinkState::Up;
                self.tell_all(place, ServerEvent::Connected, RECONNECT);
            }
            FaultStep::Clear => {
                if host.link != LinkState::Up {
                    host.link = LinkState::Up;
                    // What is in the queue is answered; what vanished is not, until keepalive or a reset.
                    self.tell_all(place, ServerEvent::Connected, RECONNECT);
                }
            }
            FaultStep::Dead(_) => {
                self.fail_vanished(place);
                // Who connects anew is told soon that nobody is there.
                if let Some(host) = self.hosts.get_mut(place).filter(|host| host.link == LinkState::BlackHole) {
                    host.link = LinkState::Down;
                    self.tell_all(place, ServerEvent::Disconnected, Duration::ZERO);
                }
            }
            FaultStep::Drain => {
                host.server.drain();
                self.tell_all(place, ServerEvent::Removed, DISCOVERY);
                self.clock.after(GRACE, WorldEvent::FaultStep(place, FaultStep::Stop));
            }
            FaultStep::Stop => {
                host.gone = true;
                self.die(place);
            }
            FaultStep::Replacement => self.join(),
        }
    }

    /// The process ends, with all it has; a new one, with a new epoch, is ready for when it is back.
    fn die(&mut self, place: usize) {
        let now = self.clock.now();
        let device = self.device;
        let Some(host) = self.hosts.get_mut(place) else { return };
        let mut lost: Vec<Key> = host.server.keys().collect();
        for arrival in host.waiting.drain(..) {
            if let Arrival::Chunk(chunk) = arrival {
                lost.push(chunk.key);
            }
        }
        if let Some(stats) = self.outcome.servers.get_mut(place) {
            stats.served_tokens += host.server.served_tokens;
            stats.busy += host.server.busy;
        }
        host.link = LinkState::Down;
        host.life += 1;
        host.stopped_until = Duration::ZERO;
        host.server = SimServer::new(device, host.server.pace, u64::from(host.life), now);
        host.forget_poll();
        for key in lost {
            self.answer(key, Err(Failure::Transport.into()));
        }
        self.tell_all(place, ServerEvent::Disconnected, Duration::ZERO);
    }

    fn fail_vanished(&mut self, place: usize) {
        let Some(host) = self.hosts.get_mut(place) else { return };
        let mut lost = std::mem::take(&mut host.vanished);
        if host.link == LinkState::BlackHole {
            lost.extend(host.server.keys());
        }
        for key in lost {
            self.answer(key, Err(Failure::Transport.into()));
        }
    }

    fn join(&mut self) {
        let now = self.clock.now();
        let place = self.hosts.len();
        self.hosts.push(HostState::new(self.device, now));
        self.outcome.servers.push(Default::default());
        self.tell_all(place, ServerEvent::Joined, DISCOVERY);
    }

    /// Every client hears of it, after one way and up to `within` later.
    fn tell_all(&mut self, place: usize, event: ServerEvent, within: Duration) {
        for client in 0..self.clients.len() {
            let after = self.random.one_way(&self.scenario.network) + self.random.up_to(within);
            self.clock.after(after, WorldEvent::ServerEvent(u32::try_from(client).unwrap_or(u32::MAX), place, event));
        }
    }
}
