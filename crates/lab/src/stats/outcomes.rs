//! What jobs under overload came to: how many were in time, late and refused, and how long each kind took.

use std::time::Duration;

use super::LatencySamples;

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// It was answered by its deadline.
    InTime,
    /// A server had admitted work of it, and its deadline came first.
    Late,
    /// Anything else: servers refused it, or its client gave it up for that reason.
    Refused,
}

/// Jobs with one deadline that are over.
#[derive(Clone, Debug)]
pub struct Outcomes {
    deadline: Duration,
    in_time: u64,
    late: u64,
    admitted: LatencySamples,
    refused: LatencySamples,
}

impl Outcomes {
    /// None yet.
    #[must_use]
    pub fn new(deadline: Duration) -> Self {
        Self { deadline, in_time: 0, late: 0, admitted: LatencySamples::default(), refused: LatencySamples::default() }
    }

    /// Adds a job that took so long. A late one counts as all of its deadline at the least.
    pub fn push(&mut self, end: JobEnd, took: Duration) {
        match end {
            JobEnd::InTime => {
                self.in_time += 1;
                self.admitted.push(took);
            }
            JobEnd::Late => {
                self.late += 1;
                self.admitted.push(took.max(self.deadline));
            }
            JobEnd::Refused => self.refused.push(took),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn jobs(&self) -> usize {
        self.admitted.len() + self.refused.len()
    }

    /// Those that were answered in time.
    #[must_use]
    pub fn in_time(&self) -> u64 {
        self.in_time
    }

    /// Late jobs over admitted ones.
    #[must_use]
    pub fn late_share(&self) -> f64 {
        self.late as f64 / (self.admitted.len() as f64).max(1.0)
    }

    /// Refused jobs over all.
    #[must_use]
    pub fn refused_share(&self) -> f64 {
        self.refused.len() as f64 / (self.jobs() as f64).max(1.0)
    }

    /// What admitted jobs took, over the deadline; none of none.
    #[must_use]
    pub fn admitted_over_deadline(&self, q: f64) -> Option<f64> {
        (!self.admitted.is_empty()).then(|| self.over_deadline(self.admitted.quantile(q)))
    }

    /// The time until a refusal; none of none.
    #[must_use]
    pub fn refused_after(&self, q: f64) -> Option<Duration> {
        (!self.refused.is_empty()).then(|| self.refused.quantile(q))
    }

    /// A time over the deadline.
    #[must_use]
    pub fn over_deadline(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.deadline.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_jobs_count_as_their_whole_deadline_and_refused_ones_apart() {
        let ms = Duration::from_millis;
        let mut outcomes = Outcomes::new(ms(1_000));
        assert!(outcomes.admitted_over_deadline(0.5).is_none() && outcomes.refused_after(0.5).is_none());
        assert_eq!((outcomes.late_share(), outcomes.refused_share()), (0.0, 0.0));
        for (end, took) in [(JobEnd::InTime, 250), (JobEnd::Late, 600), (JobEnd::Late, 2_000), (JobEnd::Refused, 1)] {
            outcomes.push(end, ms(took));
        }
        assert_eq!((outcomes.jobs(), outcomes.in_time(), outcomes.refused_share()), (4, 1, 0.25));
        assert!((outcomes.late_share() - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!([0.3, 0.5, 0.99].map(|q| outcomes.admitted_over_deadline(q).unwrap()), [0.25, 1.0, 2.0]);
        assert_eq!(outcomes.refused_after(0.99), Some(ms(1)));
    }
}
