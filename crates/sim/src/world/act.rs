//! What clients do: requests, resets and probes leave, timers are set, jobs are over.

use sortie_dispatch::Failure;
use sortie_scheduler::Tenant;

use super::{Arrival, Event, World};
use crate::{
    client::{Asker, Client, Effect, JobId},
    server::{Key, Part},
};

impl World<'_> {
    /// Lets a client act, and its effects happen.
    pub(super) fn with(&mut self, number: u32, act: impl FnOnce(&mut Client, &mut Vec<Effect>)) {
        let Some(client) = self.clients.get_mut(number as usize) else { return };
        let mut effects = std::mem::take(&mut self.effects);
        act(client, &mut effects);
        for effect in effects.drain(..) {
            self.apply(number, effect);
        }
        self.effects = effects;
    }

    fn apply(&mut self, client: u32, effect: Effect) {
        let now = self.clock.now();
        let one_way = self.chance.one_way(&self.scenario.network);
        match effect {
            Effect::Send { job, attempt, server, units, number, deadline, first } => {
                self.outcome.slice(now).chunks += u64::from(first);
                self.ledger.sent(job, first);
                let key = Key { client, job, attempt };
                // What travels is the time that is left: the way there comes on top.
                let deadline = deadline + one_way;
                let part = Box::new(Part { key, units, number, deadline, tenant: self.tenant(client) });
                self.clock.after(one_way, Event::At(server, Arrival::Part(part)));
            }
            Effect::Cancel { job, attempt, server } => {
                let key = Key { client, job, attempt };
                self.ledger.gave_up(job, attempt, now);
                self.clock.after(one_way, Event::At(server, Arrival::Cancel(key)));
            }
            Effect::Probe { job, probe, server, tokens } => {
                let asker = Asker { client, job, probe };
                if job.is_none() {
                    // Whoever asks for the fleet waits so long; a job has its own patience.
                    let timeout = self.scenario.dispatch.health.probe_timeout;
                    self.clock.after(timeout, Event::Probed(asker, Box::new(Err(Failure::Deadline))));
                }
                if !self.chance.loses(&self.scenario.network) {
                    self.clock.after(one_way, Event::At(server, Arrival::Probe(asker, tokens)));
                }
            }
            Effect::Wake { job, at } => self.clock.at(at, Event::Wake(client, job)),
            Effect::WakeFleet { at } => self.clock.at(at, Event::WakeFleet(client)),
            Effect::Finished { job } => self.job_over(job, true),
            Effect::GaveUp { job, why } => {
                self.outcome.failed += 1;
                *self.outcome.reasons.entry(why).or_default() += 1;
                self.job_over(job, false);
            }
        }
    }

    fn job_over(&mut self, job: JobId, answered: bool) {
        let now = self.clock.now();
        self.open -= 1;
        let Some(began) = self.ledger.over(job, now, answered) else { return };
        if began >= self.scenario.warm_up {
            let took = if answered { now.saturating_sub(began) } else { self.scenario.deadline };
            self.outcome.latencies.push(took);
        }
    }

    fn tenant(&self, client: u32) -> Tenant {
        let name = if self.scenario.apart { self.scenario.strategy_of(client as usize).as_str() } else { "" };
        Tenant::named(name)
    }
}
