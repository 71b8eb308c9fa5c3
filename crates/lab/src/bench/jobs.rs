//! When jobs are meant to start, and what is in them: by chance from a seed, or as a trace says.
//!
//! The same seed gives the same jobs at the same offsets.

use std::{ops::Range, sync::Arc, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::moments::ArrivalTimes;
use crate::sizes::SizeDistribution;

/// One job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BenchJob {
    /// When it is meant to start, from the start of the round.
    pub(crate) at: Duration,
    /// Its query, by place in the pool.
    pub(crate) query: usize,
    /// Its documents, by place in the pool.
    pub(crate) documents: Vec<usize>,
    /// When it is given up, from its start.
    pub(crate) cancel: Option<Duration>,
}

/// What jobs are like.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    /// When they come.
    pub(crate) times: ArrivalTimes,
    /// Documents in a job.
    pub(crate) documents: SizeDistribution,
    /// Share of jobs that are given up.
    pub(crate) cancel: f64,
    /// Latest moment of giving up.
    pub(crate) cancel_within: Duration,
    /// Documents and queries to draw from.
    pub(crate) pool: (usize, usize),
    /// Where jobs are given and come in turn: the documents of each, whose query is the one of its place.
    pub(crate) given: Arc<[Range<usize>]>,
}

/// Jobs in the order of their starts; ends with its trace, if it has one.
#[derive(Debug)]
pub(crate) struct Arrivals {
    mix: Mix,
    rng: StdRng,
    at: Duration,
    /// Jobs so far.
    count: usize,
}

impl Arrivals {
    /// Starts at zero.
    pub(crate) fn new(mix: Mix, seed: u64) -> Self {
        Self { mix, rng: StdRng::seed_from_u64(seed), at: Duration::ZERO, count: 0 }
    }
}

impl Iterator for Arrivals {
    type Item = BenchJob;

    fn next(&mut self) -> Option<BenchJob> {
        let &Mix { ref times, documents, cancel, cancel_within, pool, ref given } = &self.mix;
        self.at = times.next(self.count, self.at, &mut self.rng)?;
        let cancelled = self.rng.random_bool(cancel);
        let moment = cancel_within.mul_f64(self.rng.random());
        let turn = self.count % given.len().max(1);
        self.count += 1;
        let (query, documents) = match given.get(turn) {
            Some(documents) => (turn, documents.clone().collect()),
            None => {
                let count = documents.draw(&mut self.rng);
                let query = self.rng.random_range(0..pool.1);
                (query, (0..count).map(|_| self.rng.random_range(0..pool.0)).collect())
            }
        };
        Some(BenchJob { at: self.at, query, documents, cancel: cancelled.then_some(moment) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(rate: f64) -> Mix {
        Mix {
            times: ArrivalTimes::Bursts { rate, size: 1 },
            documents: SizeDistribution::Uniform(1, 9),
            cancel: 0.3,
            cancel_within: Duration::from_millis(40),
            pool: (100, 4),
            given: Arc::default(),
        }
    }

    #[test]
    fn the_rate_is_kept_and_gaps_are_exponential() {
        let jobs: Vec<BenchJob> = Arrivals::new(mix(50.0), 7).take(20_000).collect();
        let last = jobs.last().unwrap().at.as_secs_f64();
        assert!((last / 400.0 - 1.0).abs() < 0.03, "{last}");
        let gaps: Vec<f64> = jobs.windows(2).map(|w| (w[1].at - w[0].at).as_secs_f64() * 50.0).collect();
        let above = gaps.iter().filter(|gap| **gap > 1.0).count() as f64 / gaps.len() as f64;
        assert!((above - (-1.0_f64).exp()).abs() < 0.02, "{above}");
        let given_up = jobs.iter().filter(|job| job.cancel.is_some()).count() as f64 / jobs.len() as f64;
        assert!((given_up - 0.3).abs() < 0.02, "{given_up}");
        assert!(jobs.iter().all(|job| job.query < 4 && job.documents.iter().all(|d| *d < 100)));
    }

    #[test]
    fn given_jobs_come_in_turn_at_the_same_moments() {
        let given = Mix { given: [0..2, 2..5].into(), ..mix(50.0) };
        let jobs: Vec<BenchJob> = Arrivals::new(given.clone(), 7).take(3).collect();
        let contents: Vec<_> = jobs.iter().map(|job| (job.query, job.documents.clone())).collect();
        assert_eq!(contents, [(0, vec![0, 1]), (1, vec![2, 3, 4]), (0, vec![0, 1])]);
        let once = Mix { given: std::iter::once(0..9).collect(), ..given };
        assert!(jobs.iter().zip(Arrivals::new(once, 7)).all(|(job, other)| job.at == other.at));
    }

    #[test]
    fn the_seed_decides() {
        let first = |seed| Arrivals::new(mix(5.0), seed).take(50).collect::<Vec<_>>();
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }
}
