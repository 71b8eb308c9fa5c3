//! What became of each job.
//!
//! Invariant: every job that came in ends as one [`FinishedJob`], but for those that never end (see
//! [`crate::sim::RunOutcome::reasons`]).

use std::{collections::HashMap, time::Duration};

use sortie_dispatch::AttemptId;

use super::{chunk::Key, client::JobId};
use crate::stats::JobEnd;

/// A job that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinishedJob {
    /// Number of its client, from 0.
    pub client: u32,
    /// When it came in.
    pub began: Duration,
    /// Time until it was over.
    pub took: Duration,
    /// Its tokens.
    pub tokens: u64,
    /// Calls that its client made for it.
    pub calls: u32,
    /// Of them, those that were the first of their chunk.
    pub chunks: u32,
    /// How it ended.
    pub end: JobEnd,
}

/// What is kept of jobs until they are over.
#[derive(Debug)]
pub(crate) struct JobLog {
    deadline: Duration,
    open: HashMap<JobId, LoggedJob>,
    pub(crate) ended: Vec<FinishedJob>,
}

#[derive(Debug)]
struct LoggedJob {
    client: u32,
    began: Duration,
    tokens: u64,
    calls: u32,
    chunks: u32,
    /// Attempts that a server admitted and whose answer is not there.
    held: Vec<AttemptId>,
    /// When one of those was given up last: what a client gives up at the deadline was late.
    gave_up: Option<Duration>,
    /// Whether a server let an admitted one expire.
    expired: bool,
}

impl JobLog {
    pub(crate) fn new(deadline: Duration) -> Self {
        Self { deadline, open: HashMap::new(), ended: Vec::new() }
    }

    pub(crate) fn came(&mut self, job: JobId, client: u32, tokens: u64, began: Duration) {
        let (held, gave_up, expired) = (Vec::new(), None, false);
        self.open.insert(job, LoggedJob { client, began, tokens, calls: 0, chunks: 0, held, gave_up, expired });
    }

    /// `first`: the first attempt of a chunk.
    pub(crate) fn sent(&mut self, job: JobId, first: bool) {
        if let Some(open) = self.open.get_mut(&job) {
            open.calls += 1;
            open.chunks += u32::from(first);
        }
    }

    pub(crate) fn admitted(&mut self, key: Key) {
        if let Some(open) = self.open.get_mut(&key.job) {
            open.held.push(key.attempt);
        }
    }

    pub(crate) fn expired(&mut self, key: Key) {
        if let Some(open) = self.open.get_mut(&key.job) {
            open.expired = true;
        }
    }

    pub(crate) fn replied(&mut self, key: Key) {
        if let Some(open) = self.open.get_mut(&key.job) {
            open.held.retain(|&attempt| attempt != key.attempt);
        }
    }

    pub(crate) fn gave_up(&mut self, job: JobId, attempt: AttemptId, now: Duration) {
        let Some(open) = self.open.get_mut(&job) else { return };
        if let Some(place) = open.held.iter().position(|&held| held == attempt) {
            open.held.swap_remove(place);
            open.gave_up = Some(now);
        }
    }

    /// A job is over. When it came in.
    pub(crate) fn over(&mut self, job: JobId, now: Duration, answered: bool) -> Option<Duration> {
        let open = self.open.remove(&job)?;
        let (took, client, began) = (now.saturating_sub(open.began), open.client, open.began);
        let held = !open.held.is_empty() || open.gave_up == Some(now);
        let end = match answered {
            true if took <= self.deadline => JobEnd::InTime,
            true => JobEnd::Late,
            false if open.expired || (held && took >= self.deadline) => JobEnd::Late,
            false => JobEnd::Refused,
        };
        let LoggedJob { tokens, calls, chunks, .. } = open;
        self.ended.push(FinishedJob { client, began, took, tokens, calls, chunks, end });
        Some(began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_late_only_where_a_server_had_it_at_its_deadline() {
        let ms = Duration::from_millis;
        let key = |job| Key { client: 0, job, attempt: AttemptId(0) };
        let end = |act: &dyn Fn(&mut JobLog), at, answered| {
            let mut log = JobLog::new(ms(100));
            log.came(7, 0, 10, ms(50));
            log.sent(7, true);
            log.sent(7, false);
            act(&mut log);
            assert_eq!(log.over(7, at, answered), Some(ms(50)));
            assert_eq!(log.over(7, at, answered), None);
            let ended = log.ended[0];
            assert_eq!((ended.calls, ended.chunks, ended.tokens, ended.took), (2, 1, 10, at - ms(50)));
            ended.end
        };
        let admit = |log: &mut JobLog| log.admitted(key(7));
        assert_eq!(end(&admit, ms(150), true), JobEnd::InTime);
        assert_eq!(end(&admit, ms(151), true), JobEnd::Late);
        assert_eq!(end(&admit, ms(150), false), JobEnd::Late);
        assert_eq!(end(&|_| {}, ms(150), false), JobEnd::Refused);
        assert_eq!(end(&admit, ms(60), false), JobEnd::Refused, "given up for another chunk's sake");
        let give_up = |at| {
            move |log: &mut JobLog| {
                log.admitted(key(7));
                log.gave_up(7, AttemptId(0), at)
            }
        };
        assert_eq!(end(&give_up(ms(150)), ms(150), false), JobEnd::Late);
        assert_eq!(end(&give_up(ms(80)), ms(150), false), JobEnd::Refused);
        let answer = |log: &mut JobLog| {
            log.admitted(key(7));
            log.replied(key(7))
        };
        assert_eq!(end(&answer, ms(150), false), JobEnd::Refused);
        assert_eq!(end(&|log| log.expired(key(7)), ms(60), false), JobEnd::Late);
    }
}
