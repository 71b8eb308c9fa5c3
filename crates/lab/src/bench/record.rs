//! What came of the jobs of one strategy.
//!
//! Latencies are in microseconds in HDR histograms of three digits. A job that failed or lacks a score counts as
//! failed; one that was given up on purpose counts as neither.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{jobs::BenchJob, texts::TextPool};
use crate::stats::Spent;

/// Longest latency told apart: an hour.
const LONGEST_US: u64 = 3_600_000_000;

/// Digits that are right.
const DIGITS: u8 = 3;

/// A job that was answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnsweredJob {
    /// Tokens of its documents as the servers counted them.
    pub(crate) tokens: u64,
    /// Those tokens by the address of the server that answered them.
    pub(crate) servers: BTreeMap<String, u64>,
    /// Chunks it was cut into.
    pub(crate) chunks: u64,
    /// Chunks that were sent again because they were late.
    pub(crate) hedges: u64,
    /// Of them, those whose second attempt answered.
    pub(crate) hedges_won: u64,
    /// Chunks that were sent again because their attempt had failed.
    pub(crate) retries: u64,
    /// Documents without a score.
    pub(crate) missing: usize,
    /// Documents that one answer scored again, and scores of documents that were not sent.
    pub(crate) twice: usize,
    /// Scores that are no number.
    pub(crate) not_finite: usize,
    /// Scores that are not what they were before, or not the reference's.
    pub(crate) wrong: usize,
    /// Documents below one that the reference has clearly below them, and answers that are not from best to worst.
    pub(crate) misplaced: usize,
    /// Documents that a server says it cut.
    pub(crate) truncated: u64,
    /// How far a score lies from its reference at most.
    pub(crate) worst_error: f32,
}

impl AnsweredJob {
    /// Why it counts as failed, if it does.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let faults = [
            (self.wrong, "WRONG_SCORE"),
            (self.not_finite, "NOT_A_NUMBER"),
            (self.twice, "SCORED_TWICE"),
            (self.missing, "MISSING_SCORE"),
            (self.misplaced, "WRONG_ORDER"),
        ];
        faults.into_iter().find(|(documents, _)| *documents > 0).map(|(_, word)| word)
    }

    /// Holds what was answered, a number a document of the job, against what was answered before and the reference.
    pub(crate) fn judge(&mut self, values: &[Option<f32>], job: &BenchJob, pool: &TextPool) {
        for (value, &document) in values.iter().zip(&job.documents) {
            match value {
                None => self.missing += 1,
                Some(value) if !value.is_finite() => self.not_finite += 1,
                Some(value) => self.wrong += usize::from(!pool.agrees(job.query, document, *value)),
            }
        }
        let compared = pool.compare(job, values);
        self.misplaced += compared.misplaced;
        self.worst_error = self.worst_error.max(compared.worst_error);
    }
}

/// Documents of all answers, by what was wrong with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct TruthCounts {
    /// Without a score.
    pub missing: u64,
    /// Scored again by one answer, or never sent.
    pub twice: u64,
    /// With a score that is no number.
    pub not_finite: u64,
    /// With a score that is not what it was before, or not the reference's.
    pub wrong: u64,
    /// Below one that the reference has clearly below them.
    pub misplaced: u64,
    /// Cut, as the server says; no fault.
    pub truncated: u64,
    /// How far a score lies from its reference at most; 0 without one.
    pub worst_error: f32,
}

impl TruthCounts {
    fn add(&mut self, answered: &AnsweredJob) {
        self.missing += answered.missing as u64;
        self.twice += answered.twice as u64;
        self.not_finite += answered.not_finite as u64;
        self.wrong += answered.wrong as u64;
        self.misplaced += answered.misplaced as u64;
        self.truncated += answered.truncated;
        self.worst_error = self.worst_error.max(answered.worst_error);
    }
}

/// How a job ended.
#[derive(Clone, Debug)]
pub(crate) enum BenchJobEnd {
    /// With an answer.
    Answered(AnsweredJob),
    /// Without; the reason is a stable word.
    Failed(String),
    /// It was given up on purpose.
    Cancelled,
}

/// Everything counted while measuring.
#[derive(Debug)]
pub(crate) struct Record {
    /// Answered jobs, from their intended start.
    pub(crate) answered: Histogram<u64>,
    /// Answered and failed jobs, a failed one as if it had taken its whole deadline at least.
    pub(crate) all: Histogram<u64>,
    /// How late jobs were sent: the generator's own fault.
    pub(crate) late: Histogram<u64>,
    /// Failed jobs by reason, from the moment they were sent.
    pub(crate) reasons: BTreeMap<String, Histogram<u64>>,
    /// Jobs given up on purpose.
    pub(crate) cancelled: u64,
    /// Documents of answers, by what was wrong with them.
    pub(crate) truths: TruthCounts,
    /// Tokens of answered jobs.
    pub(crate) tokens: u64,
    /// Hedges of answered jobs.
    pub(crate) hedges: u64,
    /// Of them, those that answered first.
    pub(crate) hedges_won: u64,
    /// Time measured.
    pub(crate) measured: Duration,
    /// Processor time of this process while measuring, jobs in the warm-up left out.
    pub(crate) cpu: Duration,
    /// Tokens sent while measuring.
    pub(crate) spent: Spent,
}

impl Record {
    /// Nothing yet.
    pub(crate) fn new() -> Result<Self, hdrhistogram::CreationError> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_US, DIGITS);
        Ok(Self {
            answered: histogram()?,
            all: histogram()?,
            late: histogram()?,
            reasons: BTreeMap::new(),
            cancelled: 0,
            truths: TruthCounts::default(),
            tokens: 0,
            hedges: 0,
            hedges_won: 0,
            measured: Duration::ZERO,
            cpu: Duration::ZERO,
            spent: Spent::default(),
        })
    }

    /// Counts a job that ended `latency` after its intended start, of which it was sent `late` late.
    pub(crate) fn add(&mut self, ended: &BenchJobEnd, latency: Duration, late: Duration, deadline: Duration) {
        self.late.saturating_record(micros(late));
        let failed = match ended {
            BenchJobEnd::Cancelled => {
                self.cancelled += 1;
                return;
            }
            BenchJobEnd::Answered(answered) => {
                self.hedges += answered.hedges;
                self.hedges_won += answered.hedges_won;
                self.truths.add(answered);
                match answered.fault() {
                    None => {
                        self.tokens += answered.tokens;
                        self.answered.saturating_record(micros(latency));
                        self.all.saturating_record(micros(latency));
                        return;
                    }
                    Some(fault) => fault,
                }
            }
            BenchJobEnd::Failed(reason) => reason,
        };
        // A histogram of the same bounds.
        let none = || Histogram::new_from(&self.all);
        let failures = self.reasons.entry(failed.to_owned()).or_insert_with(none);
        failures.saturating_record(micros(latency.saturating_sub(late)));
        self.all.saturating_record(micros(latency.max(deadline)));
    }

    /// Jobs that failed.
    pub(crate) fn failures(&self) -> u64 {
        self.reasons.values().map(Histogram::len).sum()
    }

    /// Jobs that ended by themselves.
    pub(crate) fn jobs(&self) -> u64 {
        self.all.len()
    }
}

/// Microseconds, as the histograms count.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A quantile in milliseconds.
pub(crate) fn millis(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    if histogram.is_empty() { f64::NAN } else { histogram.value_at_quantile(quantile) as f64 / 1e3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn answered(missing: usize) -> BenchJobEnd {
        BenchJobEnd::Answered(AnsweredJob { tokens: 10, missing, ..AnsweredJob::default() })
    }

    #[test]
    fn a_failed_job_is_never_a_fast_one() {
        let mut record = Record::new().unwrap();
        record.add(&answered(0), 30 * MS, MS, 100 * MS);
        record.add(&BenchJobEnd::Failed("UNAVAILABLE".to_owned()), 2 * MS, MS, 100 * MS);
        record.add(&answered(1), 7 * MS, MS, 100 * MS);
        record.add(&BenchJobEnd::Cancelled, MS, MS, 100 * MS);
        assert_eq!((record.jobs(), record.failures(), record.cancelled), (3, 2, 1));
        assert_eq!(record.tokens, 10, "a job that lacks a score is no good put");
        assert!((millis(&record.answered, 1.0) - 30.0).abs() < 0.1);
        assert!(millis(&record.all, 0.5) >= 99.9, "{}", millis(&record.all, 0.5));
        let refused = record.reasons.get("UNAVAILABLE").unwrap();
        assert!((millis(refused, 1.0) - 1.0).abs() < 0.01, "a refusal counts from its sending");
        assert_eq!(record.reasons.get("MISSING_SCORE").unwrap().len(), 1);
    }
}
