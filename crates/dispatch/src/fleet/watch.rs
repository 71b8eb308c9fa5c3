//! Servers that are to be asked something: suspects whether they are alive, ejected ones
//! whether they are well, new ones who they are. And servers that come and go.
//!
//! Invariants: every suspect and every ejected server is in `watched`; of each there is at
//! most one probe that counts; no more servers are out than [`Fleet::may_eject`] allows.

use super::{EndpointId, Fleet, ModelId, Resource};
use crate::{
    action::{FleetAction, ProbePurpose},
    eject::EjectionCause,
    event::{Failure, FleetEvent},
    ids::ProbeId,
    report::LoadReport,
    suspect::Suspicion,
    time::Time,
};

/// A probe of the fleet that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingProbe {
    endpoint: EndpointId,
    model: ModelId,
    purpose: ProbePurpose,
    at: Time,
}

impl Fleet {
    /// Takes an event of the fleet and says what is to be done.
    pub fn handle(&mut self, now: Time, event: FleetEvent) -> Vec<FleetAction> {
        match event {
            FleetEvent::Tick => {}
            FleetEvent::Connected(endpoint) => {
                if let Some((_, server)) = self.server(endpoint) {
                    server.readiness.connected();
                }
            }
            FleetEvent::Disconnected(endpoint) => {
                if let Some((_, server)) = self.server(endpoint) {
                    server.readiness.disconnected();
                }
            }
            FleetEvent::Removed(endpoint) => self.remove(endpoint),
            FleetEvent::ProbeAnswered { probe, report } => self.probe_answered(probe, report, now),
            FleetEvent::ProbeFailed { probe, failure } => self.probe_failed(probe, failure, now),
        }
        self.poll(now)
    }

    /// Discovery names another server. Numbers are never given twice: a server that comes back is new.
    /// Call [`Fleet::handle`] next, under the same lock, for a new server counts as ready: with [`FleetEvent::Tick`] it
    /// is probed, with [`FleetEvent::Disconnected`] it is not, and is to be asked for its load as soon as it is connected
    /// ([`Fleet::report`]).
    pub fn add(&mut self, now: Time) -> EndpointId {
        let at_work = self.members.iter().any(|&id| self.endpoint(id).is_some_and(|server| server.known));
        let id = self.join(at_work.then_some(now));
        let models = (0..).map(ModelId).zip(&self.models).filter(|(_, model)| model.resource == Resource::Device);
        self.joined.extend(models.map(|(model, _)| (id, model)));
        self.dirty = true;
        id
    }

    fn remove(&mut self, id: EndpointId) {
        self.suspects = self.suspects.saturating_sub(usize::from(self.is_suspect(id)));
        if let Some(place) = self.endpoints.get_mut(id.0 as usize) {
            *place = None;
        }
        self.members.retain(|&member| member != id);
        self.watched.retain(|&watched| watched != id);
        self.count_out();
    }

    /// Whether there is something to do since this was last asked.
    pub(crate) fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// An attempt is late: its server becomes suspect.
    pub(crate) fn suspect(&mut self, id: EndpointId, now: Time) {
        if !self.config.health.suspicion {
            return;
        }
        if self.server(id).is_some_and(|(_, server)| server.suspicion.suspect(now)) {
            self.suspects += 1;
            self.counters.suspicions += 1;
            self.watch(id);
            self.dirty = true;
        }
    }

    /// Whether a server is suspected.
    pub(crate) fn is_suspect(&self, id: EndpointId) -> bool {
        self.endpoint(id).is_some_and(|server| server.suspicion.is_suspect())
    }

    /// Whether a server is silent: suspect, and its probe has been out for `health.silent_after`.
    pub(crate) fn is_silent(&self, id: EndpointId, now: Time) -> bool {
        let health = &self.config.health;
        self.endpoint(id).is_some_and(|server| match server.suspicion {
            Suspicion::Asked(_, until) => now + health.probe_timeout >= until + health.silent_after,
            Suspicion::Trusted | Suspicion::Pause(_) => false,
        })
    }

    /// A server answered. `overdue` is the age of its running batch over that batch's predicted time.
    pub(super) fn record_contact(&mut self, id: EndpointId, overdue: f64, now: Time) {
        if self.server(id).is_some_and(|(health, server)| server.suspicion.answered(health, overdue, now)) {
            self.suspects = self.suspects.saturating_sub(1);
        }
    }

    /// Share of the fleet that may be ejected at once: the smaller of the configured limit and what the load allows.
    fn may_eject(&self) -> bool {
        let (health, members) = (&self.config.health, self.members.len() as f64);
        let one = if self.members.len() >= 3 { 1.0 / members } else { 0.0 };
        let room = 1.0 - self.load.rho() / self.config.load.target;
        (self.out + 1) as f64 <= health.max_ejected.max(one).min(room) * members + 1e-9
    }

    /// Ejects a server that is due, if the fleet can do without it.
    pub(super) fn consider(&mut self, id: EndpointId, now: Time) {
        let Some(server) = self.endpoint(id) else { return };
        let due = server.ejection.due(&self.config.health, now);
        if let Some(cause) = due.filter(|_| self.config.health.ejecting && self.may_eject()) {
            if let Some((health, server)) = self.server(id) {
                server.ejection.eject(health, now);
            }
            match cause {
                EjectionCause::Failing => self.counters.ejected_failing += 1,
                EjectionCause::Slow => self.counters.ejected_slow += 1,
            }
        }
        // One on trial may have been ejected again before this.
        if self.is_out(id) {
            self.watch(id);
        }
        self.count_out();
    }

    fn is_out(&self, id: EndpointId) -> bool {
        self.endpoint(id).is_some_and(|server| server.ejection.is_out())
    }

    fn count_out(&mut self) {
        self.out = self.watched.iter().filter(|&&id| self.is_out(id)).count();
    }

    fn watch(&mut self, id: EndpointId) {
        if !self.watched.contains(&id) {
            self.watched.push(id);
            self.dirty = true;
        }
    }

    /// Probes the watched servers that are due, and sets the timer for the next.
    fn poll(&mut self, now: Time) -> Vec<FleetAction> {
        let mut actions = Vec::new();
        for (endpoint, model) in std::mem::take(&mut self.joined) {
            // Who connects to a server has it answer, and reports that.
            if self.endpoint(endpoint).is_some_and(|server| server.readiness.is_connected()) {
                actions.push(self.ask(endpoint, model, ProbePurpose::Joined, now).1);
            }
        }
        let mut watched = std::mem::take(&mut self.watched);
        watched.retain(|&id| self.service_timer(id, now, &mut actions));
        self.watched = watched;
        // An answer that has not come by then never will.
        let oldest = self.config.health.probe_timeout * 8;
        self.pending.retain(|_, pending| now - pending.at <= oldest);
        let wakes = self.watched.iter().filter_map(|&id| {
            let server = self.endpoint(id)?;
            [server.suspicion.wake(), server.ejection.wake()].into_iter().flatten().min()
        });
        actions.extend(wakes.min().map(FleetAction::WakeAt));
        self.dirty = false;
        actions
    }

    /// Probes a watched server if that is due. Returns whether the server must still be watched.
    fn service_timer(&mut self, id: EndpointId, now: Time, actions: &mut Vec<FleetAction>) -> bool {
        let Some(server) = self.endpoint(id) else { return false };
        let is_due = |wake: Option<Time>| wake.is_some_and(|at| at <= now);
        let (suspect, out) = (is_due(server.suspicion.wake()), is_due(server.ejection.wake()));
        let (watched, model) = (
            server.suspicion.is_suspect() || server.ejection.is_out(),
            server
                .models()
                .map(|(model, _)| model)
                .find(|&model| self.state(model).is_some_and(|state| state.resource == Resource::Device)),
        );
        let model = model.unwrap_or(ModelId(0));
        if suspect {
            let (probe, action) = self.ask(id, model, ProbePurpose::Suspect, now);
            actions.push(action);
            if let Some((health, server)) = self.server(id) {
                server.suspicion.asked(health, probe, now);
            }
        }
        if out {
            let (probe, action) = self.ask(id, model, ProbePurpose::HalfOpen, now);
            actions.push(action);
            if let Some((health, server)) = self.server(id) {
                server.ejection.asked(health, probe, now);
            }
        }
        watched
    }

    fn ask(
        &mut self,
        endpoint: EndpointId,
        model: ModelId,
        purpose: ProbePurpose,
        now: Time,
    ) -> (ProbeId, FleetAction) {
        let probe = self.next_probe();
        self.pending.insert(probe, PendingProbe { endpoint, model, purpose, at: now });
        (probe, FleetAction::Probe { probe, endpoint, model, purpose })
    }

    fn probe_answered(&mut self, probe: ProbeId, report: LoadReport, now: Time) {
        let Some(PendingProbe { endpoint, model, at, .. }) = self.pending.remove(&probe) else { return };
        self.probed(endpoint, model, report, now - at, now);
        let well = !report.draining && report.overdue <= self.config.health.overdue;
        self.half_open(endpoint, probe, well, now);
    }

    fn probe_failed(&mut self, probe: ProbeId, failure: Failure, now: Time) {
        let Some(PendingProbe { endpoint, purpose, .. }) = self.pending.remove(&probe) else { return };
        match failure {
            // It answered, if only that it knows no probes.
            Failure::Fatal | Failure::Internal | Failure::Overloaded { .. } => self.record_contact(endpoint, 0.0, now),
            Failure::Transport | Failure::Unavailable => {
                self.failed(endpoint, failure, now);
                self.still_suspect(endpoint, now);
            }
            Failure::Deadline => self.still_suspect(endpoint, now),
        }
        if purpose == ProbePurpose::HalfOpen {
            self.half_open(endpoint, probe, failure == Failure::Fatal, now);
        }
    }

    fn still_suspect(&mut self, id: EndpointId, now: Time) {
        if let Some((health, server)) = self.server(id) {
            server.suspicion.failed(health, now);
        }
    }

    fn half_open(&mut self, id: EndpointId, probe: ProbeId, well: bool, now: Time) {
        if let Some((health, server)) = self.server(id) {
            server.ejection.record_probe(health, probe, well, now);
        }
        self.count_out();
    }
}
