//! What clients do: requests, resets and probes leave, timers are set, jobs are over.

use sortie_dispatch::{AttemptId, Failure};
use sortie_scheduler::Tenant;

use super::{
    World,
    event::{Arrival, WorldEvent},
};
use crate::{
    baseline::{ClientAction, SendKind},
    sim::{
        chunk::{ArrivedChunk, Key},
        client::{JobId, ProbeOrigin, SimAction, SimClient},
    },
};

impl World<'_> {
    /// Lets a client act, and its effects happen.
    pub(super) fn with(&mut self, number: u32, act: impl FnOnce(&mut SimClient, &mut Vec<SimAction>)) {
        let Some(client) = self.clients.get_mut(number as usize) else { return };
        let mut actions = std::mem::take(&mut self.actions);
        act(client, &mut actions);
        for action in actions.drain(..) {
            self.apply(number, action);
        }
        self.actions = actions;
    }

    fn apply(&mut self, client: u32, action: SimAction) {
        let now = self.clock.now();
        let one_way = self.random.one_way(&self.scenario.network);
        match action {
            SimAction::Client(ClientAction::Send { job, attempt, server, items, number, deadline, kind }) => {
                let first = kind == SendKind::First;
                self.outcome.slice(now).chunks += u64::from(first);
                self.log.sent(job, first);
                let key = Key { client, job, attempt: AttemptId(attempt) };
                let items = items.iter().map(|item| item.tokens).collect();
                // What travels is the time that is left: the way there comes on top.
                let deadline = deadline + one_way;
                let chunk = Box::new(ArrivedChunk { key, items, number, deadline, tenant: self.tenant(client) });
                self.clock.after(one_way, WorldEvent::At(server, Arrival::Chunk(chunk)));
            }
            SimAction::Client(ClientAction::Cancel { job, attempt, server }) => {
                let attempt = AttemptId(attempt);
                let key = Key { client, job, attempt };
                self.log.gave_up(job, attempt, now);
                self.clock.after(one_way, WorldEvent::At(server, Arrival::Cancel(key)));
            }
            SimAction::Probe { job, probe, server, work } => {
                let origin = ProbeOrigin { client, job, probe };
                if job.is_none() {
                    // Whoever asks for the fleet waits so long; a job has its own patience.
                    let timeout = self.scenario.dispatch.health.probe_timeout;
                    self.clock.after(timeout, WorldEvent::Probed(origin, Box::new(Err(Failure::Deadline))));
                }
                if !self.random.loses(&self.scenario.network) {
                    self.clock.after(one_way, WorldEvent::At(server, Arrival::Probe(origin, work)));
                }
            }
            SimAction::Client(ClientAction::Wake { job, at }) => self.clock.at(at, WorldEvent::Wake(client, job)),
            SimAction::WakeFleet { at } => self.clock.at(at, WorldEvent::WakeFleet(client)),
            SimAction::Client(ClientAction::End { job, failed }) => {
                if let Some(reason) = failed {
                    self.outcome.failed += 1;
                    *self.outcome.reasons.entry(reason.as_str()).or_default() += 1;
                }
                self.job_over(job, failed.is_none());
            }
        }
    }

    fn job_over(&mut self, job: JobId, answered: bool) {
        let now = self.clock.now();
        self.open -= 1;
        let Some(began) = self.log.over(job, now, answered) else { return };
        if began >= self.scenario.warm_up {
            let took = if answered { now.saturating_sub(began) } else { self.scenario.deadline };
            self.outcome.latencies.push(took);
        }
    }

    fn tenant(&self, client: u32) -> Tenant {
        let strategy = self.scenario.strategy_of(client as usize);
        // A queue goes by a hash of the name: with spaces the published tables repeat to the letter.
        if self.scenario.apart { Tenant::named(&strategy.name().replace('-', " ")) } else { Tenant::default() }
    }
}
