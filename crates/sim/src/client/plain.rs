//! What stubs of a user's own do: the whole job in one request to servers in turn, once, or again at once on the next
//! one where it was refused. Nothing is known of any server, and what a server asks for is not heeded.

use std::{collections::BTreeMap, time::Duration};

use sortie_dispatch::{AttemptId, FailReason, Failure, ItemSize};

use super::{ClientAction, ClientTotals, JobId, ServerEvent};
use crate::{scenario::Scenario, strategy::Strategy};

/// Attempts of one job where there are retries (the most that gRPC allows).
const MOST_ATTEMPTS: u32 = 5;

/// A client with a stub.
#[derive(Debug)]
pub(crate) struct Plain {
    attempts: u32,
    deadline: Duration,
    servers: Vec<usize>,
    /// Place of the next request's server.
    next: usize,
    jobs: BTreeMap<JobId, PlainJob>,
    tally: ClientTotals,
}

#[derive(Debug)]
struct PlainJob {
    began: Duration,
    items: Box<[u32]>,
    tokens: u64,
    /// Attempts made, and the server of the last.
    attempts: u32,
    server: usize,
}

impl Plain {
    /// `turn` sets clients apart, whose turns would else be the same.
    pub(super) fn new(scenario: &Scenario, turn: u64) -> Self {
        Self {
            attempts: if scenario.strategy == Strategy::Again { MOST_ATTEMPTS } else { 1 },
            deadline: scenario.deadline,
            servers: (0..scenario.servers).collect(),
            next: (turn % scenario.servers.max(1) as u64) as usize,
            jobs: BTreeMap::new(),
            tally: ClientTotals::default(),
        }
    }

    pub(super) fn submit(&mut self, id: JobId, items: &[ItemSize], now: Duration, out: &mut Vec<ClientAction>) {
        let sizes: Box<[u32]> = items.iter().map(|item| u32::try_from(item.tokens).unwrap_or(u32::MAX)).collect();
        let tokens = items.iter().map(|item| item.tokens).sum();
        self.tally.spent.first += tokens;
        self.jobs.insert(id, PlainJob { began: now, items: sizes, tokens, attempts: 0, server: usize::MAX });
        self.send(id, out);
        out.push(ClientAction::Wake { job: id, at: now + self.deadline });
    }

    pub(super) fn reply(
        &mut self,
        id: JobId,
        attempt: AttemptId,
        failure: Option<Failure>,
        out: &mut Vec<ClientAction>,
    ) {
        let Some(open) = self.jobs.get(&id).filter(|open| open.attempts == attempt.0 + 1) else { return };
        let again = match failure {
            None => return self.end(id, None, out),
            Some(Failure::Overloaded { .. } | Failure::Unavailable | Failure::Transport) => {
                open.attempts < self.attempts
            }
            Some(_) => false,
        };
        if again {
            self.tally.spent.free += open.tokens;
            self.send(id, out);
        } else {
            let why = if failure == Some(Failure::Deadline) { FailReason::Deadline } else { FailReason::Attempts };
            self.end(id, Some(why), out);
        }
    }

    pub(super) fn tick(&mut self, id: JobId, now: Duration, out: &mut Vec<ClientAction>) {
        let Some(open) = self.jobs.get(&id).filter(|open| now >= open.began + self.deadline) else { return };
        if let Some(last) = open.attempts.checked_sub(1) {
            out.push(ClientAction::Cancel { job: id, attempt: AttemptId(last), server: open.server });
        }
        self.end(id, Some(FailReason::Deadline), out);
    }

    pub(super) fn server_event(&mut self, server: usize, event: ServerEvent) {
        self.servers.retain(|&other| other != server);
        if matches!(event, ServerEvent::Joined | ServerEvent::Connected) {
            self.servers.push(server);
        }
    }

    pub(super) fn tally(&self) -> ClientTotals {
        self.tally
    }

    fn send(&mut self, id: JobId, out: &mut Vec<ClientAction>) {
        let Some(open) = self.jobs.get_mut(&id) else { return };
        let Some(&server) = self.servers.get(self.next % self.servers.len().max(1)) else { return };
        self.next = self.next.wrapping_add(1);
        let (attempt, first) = (AttemptId(open.attempts), open.attempts == 0);
        open.attempts += 1;
        open.server = server;
        let (items, deadline) = (open.items.clone(), open.began + self.deadline);
        // Others know nothing of numbers: each attempt is a first one.
        out.push(ClientAction::Send { job: id, attempt, server, items, number: 1, deadline, first });
    }

    fn end(&mut self, id: JobId, failure: Option<FailReason>, out: &mut Vec<ClientAction>) {
        self.jobs.remove(&id);
        out.push(match failure {
            None => ClientAction::Finished { job: id },
            Some(reason) => ClientAction::GaveUp { job: id, why: reason.as_str() },
        });
    }
}
