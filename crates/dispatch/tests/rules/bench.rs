//! One job by hand: events in, actions looked at.

use std::time::Duration;

use sortie_dispatch::{
    Action, AnswerReport, AttemptId, Cost, DispatchConfig, EndpointId, Event, FailReason, Failure, Fleet, FleetAction,
    FleetEvent, ItemSize, Job, JobOptions, LoadReport, ModelId, ProbeId, Pushback, Resource, SendAttempt, SharedSize,
    Time,
};

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn at(ms: u64) -> Time {
    Time::from_start(Duration::from_millis(ms))
}

pub(crate) fn answered(attempt: AttemptId) -> Event {
    Event::Answered { attempt, answer: AnswerReport::default() }
}

pub(crate) fn failed(attempt: AttemptId, failure: Failure) -> Event {
    Event::Failed { attempt, failure, report: None }
}

/// A refusal for too much work that says nothing of the wait.
pub(crate) fn refused(pushback: Pushback) -> Failure {
    Failure::Overloaded { pushback, queue: None }
}

/// How a job failed, if it did.
pub(crate) fn failure(actions: &[Action]) -> Option<(FailReason, Option<AttemptId>)> {
    actions.iter().find_map(|action| match action {
        Action::Fail { reason, cause, .. } => Some((*reason, *cause)),
        _ => None,
    })
}

pub(crate) fn is_finished(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Finish(_)))
}

/// When a job wants to be woken.
pub(crate) fn wake(actions: &[Action]) -> Time {
    let mut wakes = actions.iter().filter_map(|action| match action {
        Action::WakeAt(time) => Some(*time),
        _ => None,
    });
    wakes.next_back().unwrap()
}

pub(crate) fn cancelled(actions: &[Action]) -> Vec<AttemptId> {
    let cancelled = actions.iter().filter_map(|action| match action {
        Action::Cancel { attempt, .. } => Some(*attempt),
        _ => None,
    });
    cancelled.collect()
}

/// Probes that a job sends.
pub(crate) fn probes(actions: &[Action]) -> Vec<(ProbeId, EndpointId)> {
    let probes = actions.iter().filter_map(|action| match action {
        Action::Probe { probe, endpoint, .. } => Some((*probe, *endpoint)),
        _ => None,
    });
    probes.collect()
}

/// Probes that the fleet sends.
pub(crate) fn fleet_probes(actions: &[FleetAction]) -> Vec<(ProbeId, EndpointId)> {
    let probes = actions.iter().filter_map(|action| match action {
        FleetAction::Probe { probe, endpoint, .. } => Some((*probe, *endpoint)),
        _ => None,
    });
    probes.collect()
}

/// What an idle server says, of its cost too.
pub(crate) fn idle(cost: Cost) -> LoadReport {
    LoadReport { epoch: 1, cost, ..LoadReport::default() }
}

/// The same, of a server that will be idle only then.
pub(crate) fn queue_wait_of(ms: u64) -> LoadReport {
    LoadReport { queue_wait: Duration::from_millis(ms), ..idle(DispatchConfig::default().cost.prior) }
}

pub(crate) fn items(count: usize) -> Vec<ItemSize> {
    vec![ItemSize { tokens: 200, work: 200, bytes: 800, answer_bytes: 4 }; count]
}

pub(crate) struct Bench {
    pub(crate) fleet: Fleet,
    pub(crate) model: ModelId,
    pub(crate) job: Job,
    pub(crate) chunks: usize,
}

impl Bench {
    /// A job of 200 items for a fresh fleet whose costs count as known.
    pub(crate) fn new(servers: usize, config: DispatchConfig) -> Self {
        Self::with(servers, config, |options| options)
    }

    /// The same with other options.
    pub(crate) fn with(servers: usize, mut config: DispatchConfig, options: impl Fn(JobOptions) -> JobOptions) -> Self {
        config.plan.trusted_samples = 0;
        let mut fleet = Fleet::new(config, servers, 7);
        let model = fleet.model("m", Resource::Device);
        Self::on(fleet, model, 200, at(0), options(JobOptions::by(at(0) + DEADLINE)))
    }

    /// A job of so many items for a fleet.
    pub(crate) fn on(mut fleet: Fleet, model: ModelId, count: usize, now: Time, options: JobOptions) -> Self {
        let plan = fleet.plan(model, &items(count), SharedSize::default(), &options, now);
        let chunks = plan.expected_chunks();
        Self { fleet, model, job: Job::new(model, plan, options), chunks }
    }

    pub(crate) fn handle(&mut self, now: Time, event: Event) -> (Vec<SendAttempt>, Vec<Action>) {
        let (mut sends, mut rest) = (Vec::new(), Vec::new());
        for action in self.job.handle(&mut self.fleet, now, event) {
            match action {
                Action::Send(send) => sends.push(send),
                other => rest.push(other),
            }
        }
        (sends, rest)
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.fleet.stats(at(0)).map(|server| server.in_flight_tokens).sum()
    }

    /// Tokens that a new job of 200 items would have on a server.
    pub(crate) fn share_of(&mut self, id: EndpointId, now: Time) -> u64 {
        let options = JobOptions::by(now + DEADLINE);
        let plan = self.fleet.plan(self.model, &items(200), SharedSize::default(), &options, now);
        plan.chunks.iter().find(|chunk| chunk.target == Some(id)).map_or(0, |chunk| chunk.tokens)
    }

    pub(crate) fn tick(&mut self, now: Time) -> Vec<FleetAction> {
        self.fleet.handle(now, FleetEvent::Tick)
    }

    pub(crate) fn stats(&self, id: EndpointId, now: Time) -> sortie_dispatch::EndpointSnapshot {
        self.fleet.stats(now).find(|stats| stats.endpoint == id).unwrap()
    }
}
