//! The last jobs, in bounded memory: a few whole, and of more how long they took.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use crate::jobs::{PageJob, ms};

/// Jobs that are kept whole: what a screen or two show, and half a megabyte at most.
const KEPT_JOBS: usize = 12;

/// Attempts that are kept of one job: a fleet of a hundred servers, and what would still be told apart on a screen.
const KEPT_ATTEMPTS: usize = 128;

/// Times that quantiles are made of: enough for ten above the 99th in a hundred.
const KEPT_TIMES: usize = 1_024;

/// Times older than this say nothing of now.
const LATELY: Duration = Duration::from_secs(300);

/// The last jobs of a process. They are added as they end, and looked at by the page.
#[derive(Debug, Default)]
pub struct RecentJobs(Mutex<KeptJobs>);

#[derive(Debug, Default)]
struct KeptJobs {
    /// Jobs since the start; the number of the last one.
    count: u64,
    jobs: VecDeque<(u64, Instant, PageJob)>,
    times: VecDeque<JobTime>,
}

#[derive(Clone, Copy, Debug)]
struct JobTime {
    rpc: &'static str,
    at: Instant,
    took: Duration,
    tokens: u64,
}

/// A job that is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ShownJob {
    /// Counted from 1, since the start.
    pub(crate) number: u64,
    /// How long ago it ended.
    pub(crate) age_ms: f64,
    #[serde(flatten)]
    pub(crate) job: PageJob,
}

/// How long the last jobs of a kind took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct KindTimes {
    pub(crate) rpc: &'static str,
    /// Jobs that these figures are of.
    pub(crate) jobs: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Jobs and tokens a second since the first of them.
    pub(crate) jobs_per_second: f64,
    pub(crate) tokens_per_second: f64,
}

impl RecentJobs {
    /// A job ended now.
    pub fn ended(&self, mut job: PageJob) {
        job.attempts.sort_by_key(|attempt| attempt.began);
        job.attempts_left_out += job.attempts.len().saturating_sub(KEPT_ATTEMPTS);
        job.attempts.truncate(KEPT_ATTEMPTS);
        let at = Instant::now();
        let mut kept = self.0.lock();
        kept.count += 1;
        let number = kept.count;
        // What failed or was dropped says nothing of how long work takes.
        if job.code == "OK" {
            push(&mut kept.times, KEPT_TIMES, JobTime { rpc: job.rpc, at, took: job.took, tokens: job.tokens });
        }
        push(&mut kept.jobs, KEPT_JOBS, (number, at, job));
    }

    /// Jobs since the start.
    pub(crate) fn count(&self) -> u64 {
        self.0.lock().count
    }

    /// The last jobs, the newest first.
    pub(crate) fn jobs(&self) -> Vec<ShownJob> {
        let now = Instant::now();
        let shown = |(number, at, job): &(u64, Instant, PageJob)| ShownJob {
            number: *number,
            age_ms: ms(now.saturating_duration_since(*at)),
            job: job.clone(),
        };
        self.0.lock().jobs.iter().rev().map(shown).collect()
    }

    /// How long jobs took of late, by kind.
    pub(crate) fn times(&self) -> Vec<KindTimes> {
        let now = Instant::now();
        let mut kinds: BTreeMap<&'static str, Vec<JobTime>> = BTreeMap::new();
        for time in &self.0.lock().times {
            if now.saturating_duration_since(time.at) < LATELY {
                kinds.entry(time.rpc).or_default().push(*time);
            }
        }
        kinds.into_iter().filter_map(|(rpc, times)| KindTimes::of(rpc, times, now)).collect()
    }
}

impl KindTimes {
    fn of(rpc: &'static str, mut times: Vec<JobTime>, now: Instant) -> Option<Self> {
        let first = times.first()?;
        // A lone job that ended just now is no thousand a second.
        let span = (now.saturating_duration_since(first.at) + first.took).as_secs_f64().max(1.0);
        let tokens = times.iter().map(|time| time.tokens).sum::<u64>();
        times.sort_by_key(|time| time.took);
        let at = |share: f64| {
            let rank = (share * times.len() as f64).ceil() as usize;
            times.get(rank.saturating_sub(1)).map_or(0.0, |time| ms(time.took))
        };
        Some(Self {
            rpc,
            jobs: times.len(),
            p50_ms: at(0.50),
            p99_ms: at(0.99),
            jobs_per_second: times.len() as f64 / span,
            tokens_per_second: tokens as f64 / span,
        })
    }
}

fn push<T>(queue: &mut VecDeque<T>, most: usize, value: T) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::PageAttempt;

    fn job(ms: u64, attempts: usize) -> PageJob {
        let attempt =
            |n: usize| PageAttempt { began: Duration::from_millis(1_000 - n as u64), ..PageAttempt::default() };
        PageJob {
            rpc: "Rerank",
            model: "m".to_owned(),
            code: "OK",
            items: 2,
            tokens: 10,
            took: Duration::from_millis(ms),
            attempts: (0..attempts).map(attempt).collect(),
            attempts_left_out: 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_come_first_and_the_oldest_go() {
        let recent = RecentJobs::default();
        for n in 1..=(KEPT_JOBS as u64 + 3) {
            recent.ended(job(n, 0));
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        let jobs = recent.jobs();
        assert_eq!((jobs.len(), recent.count()), (KEPT_JOBS, KEPT_JOBS as u64 + 3));
        assert_eq!((jobs[0].number, jobs[0].age_ms), (KEPT_JOBS as u64 + 3, 10.0));
        assert_eq!((jobs[1].number, jobs[1].age_ms), (KEPT_JOBS as u64 + 2, 20.0));
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_are_in_order_and_bounded() {
        let recent = RecentJobs::default();
        recent.ended(job(1, KEPT_ATTEMPTS + 5));
        let shown = &recent.jobs()[0].job;
        assert_eq!((shown.attempts.len(), shown.attempts_left_out), (KEPT_ATTEMPTS, 5));
        assert!(shown.attempts.is_sorted_by_key(|attempt| attempt.began));
    }

    #[tokio::test(start_paused = true)]
    async fn times_are_of_late_and_of_what_was_answered() {
        let recent = RecentJobs::default();
        recent.ended(job(5_000, 0));
        tokio::time::advance(LATELY).await;
        recent.ended(PageJob { code: "CANCELLED", ..job(9_000, 0) });
        for ms in 1..=100 {
            recent.ended(job(ms, 0));
        }
        let [times] = recent.times().try_into().unwrap();
        assert_eq!((times.jobs, times.p50_ms, times.p99_ms), (100, 50.0, 99.0));
        assert_eq!((times.jobs_per_second, times.tokens_per_second), (100.0, 1_000.0));
    }

    proptest! {
        #[test]
        fn quantiles_are_times_that_were(took in prop::collection::vec(1u64..10_000, 1..200)) {
            let now = Instant::now();
            let time = |ms: &u64| JobTime { rpc: "Embed", at: now, took: Duration::from_millis(*ms), tokens: 1 };
            let times = KindTimes::of("Embed", took.iter().map(time).collect(), now).unwrap();
            let was = |ms: f64| took.iter().any(|took| *took as f64 == ms);
            prop_assert!(was(times.p50_ms) && was(times.p99_ms) && times.p50_ms <= times.p99_ms);
        }
    }
}
