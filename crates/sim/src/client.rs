//! A client: what it knows of the fleet, and its jobs under way.
//!
//! Invariant: every action that dispatch asks for is carried out, in its order.

use std::{collections::BTreeMap, time::Duration};

use sortie_dispatch::{
    Action, Answer, AttemptId, Config, EndpointId, Event, Fleet, Item, Job, JobOptions, ModelId, Report, Shared, Time,
    Work,
};

use crate::server::Part;

/// Longest a job may take: far beyond what a stable fleet needs, so that only a drowned one fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// The one model of the simulated fleet.
const MODEL: &str = "model";

/// A job, by its number within a run.
pub(crate) type JobId = usize;

/// Something that a client does to the world.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Sends a chunk.
    Send { job: JobId, attempt: AttemptId, server: usize, tokens: u64 },
    /// Wants to be woken.
    Wake { job: JobId, at: Duration },
    /// Has every answer of a job that came in at `began`.
    Finished { began: Duration },
    /// Gave a job up.
    GaveUp,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    fleet: Fleet,
    model: ModelId,
    jobs: BTreeMap<JobId, Open>,
}

#[derive(Debug)]
struct Open {
    job: Job,
    began: Duration,
}

impl Client {
    pub(crate) fn new(config: Config, servers: usize, seed: u64) -> Self {
        let mut fleet = Fleet::new(config, servers, seed);
        let model = fleet.model(MODEL, Work::Device);
        Self { fleet, model, jobs: BTreeMap::new() }
    }

    /// A server's report arrives.
    pub(crate) fn report(&mut self, server: usize, report: Report, now: Duration) {
        self.fleet.report(endpoint(server), self.model, report, Time::from_start(now));
    }

    /// A job comes in.
    pub(crate) fn submit(&mut self, id: JobId, items: &[Item], now: Duration) -> Vec<Effect> {
        let time = Time::from_start(now);
        let options = JobOptions::by(time + DEADLINE);
        let plan = self.fleet.plan(self.model, items, Shared::default(), &options, time);
        let job = Job::new(self.model, plan, options);
        self.jobs.insert(id, Open { job, began: now });
        self.handle(id, Event::Start, now)
    }

    /// A chunk's answer arrives, with the server's report.
    pub(crate) fn answer(
        &mut self,
        id: JobId,
        attempt: AttemptId,
        part: &Part<impl Sized>,
        report: Report,
        now: Duration,
    ) -> Vec<Effect> {
        let answer = Answer { batches: part.batches.clone(), report: Some(report), ..Answer::default() };
        self.handle(id, Event::Answered { attempt, answer }, now)
    }

    /// A moment that a job asked for has come.
    pub(crate) fn tick(&mut self, id: JobId, now: Duration) -> Vec<Effect> {
        self.handle(id, Event::Tick, now)
    }

    /// Tokens that this client believes to be in flight.
    pub(crate) fn in_flight(&self, now: Duration) -> u64 {
        self.fleet.stats(Time::from_start(now)).map(|stats| stats.in_flight_tokens).sum()
    }

    fn handle(&mut self, id: JobId, event: Event, now: Duration) -> Vec<Effect> {
        let Some(open) = self.jobs.get_mut(&id) else { return Vec::new() };
        let actions = open.job.handle(&mut self.fleet, Time::from_start(now), event);
        let (began, mut over) = (open.began, false);
        let mut effects = Vec::with_capacity(actions.len());
        for action in actions {
            match action {
                Action::Send(send) => {
                    let (attempt, server) = (send.attempt, send.endpoint.0 as usize);
                    let tokens = open.job.chunk(send.chunk).map_or(0, |chunk| chunk.tokens);
                    effects.push(Effect::Send { job: id, attempt, server, tokens });
                }
                Action::WakeAt(time) => effects.push(Effect::Wake { job: id, at: time.since_start() }),
                Action::Finish(_) => {
                    over = true;
                    effects.push(Effect::Finished { began });
                }
                Action::Fail { .. } => {
                    over = true;
                    effects.push(Effect::GaveUp);
                }
                // Actions of later versions need events of later versions, which nobody sends yet.
                _ => {}
            }
        }
        if over {
            self.jobs.remove(&id);
        }
        effects
    }
}

fn endpoint(server: usize) -> EndpointId {
    EndpointId(u32::try_from(server).unwrap_or(u32::MAX))
}
