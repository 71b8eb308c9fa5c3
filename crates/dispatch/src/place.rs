//! Which server gets a chunk: the one that would finish it first.
//!
//! `score = backlog + a · batches + b · work + round trip`, in microseconds. Equal
//! scores are settled by chance.
//!
//! Invariant: the score grows with backlog, with work and with cost. (The formula of
//! Elasticsearch's adaptive replica selection was inverted for four years: this is a
//! property test.)

use rand::{Rng, RngExt as _};
use sortie_work::Cost;

use crate::{ids::EndpointId, report::Limits};

/// A server that may get work, as it stands now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The server.
    pub endpoint: EndpointId,
    /// What its work costs.
    pub cost: Cost,
    /// Microseconds of work that it has before anything new would start.
    pub backlog_us: f64,
    /// Microseconds to it and back.
    pub round_trip_us: f64,
    /// What a request to it may hold.
    pub limits: Limits,
}

impl Candidate {
    /// Microseconds that `work` takes on it once it has started; cut into batches where it does not
    /// fit one.
    #[must_use]
    pub fn service_us(&self, work: f64) -> f64 {
        let batches = (work / self.limits.max_batch_tokens.max(1) as f64).ceil().max(1.0);
        self.cost.a_us * batches + self.cost.b_us * work
    }

    /// Microseconds until the answer to so much more work would be here.
    #[must_use]
    pub fn finish_us(&self, work: f64) -> f64 {
        self.backlog_us + self.service_us(work) + self.round_trip_us
    }
}

/// The server that would finish so much more work first, if there is any.
pub(crate) fn best<R: Rng>(rng: &mut R, candidates: &[Candidate], work: u64) -> Option<Candidate> {
    let mut best: Option<(&Candidate, f64)> = None;
    let mut equals = 0u32;
    for candidate in candidates {
        let score = candidate.finish_us(work as f64);
        match best {
            Some((_, least)) if score > least => continue,
            Some((_, least)) if score >= least => {
                equals += 1;
                if rng.random_range(0..=equals) > 0 {
                    continue;
                }
            }
            _ => equals = 0,
        }
        best = Some((candidate, score));
    }
    best.map(|(best, _)| *best)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::config::LIMITS;

    fn candidate(endpoint: u32, backlog_us: f64) -> Candidate {
        let cost = Cost { a_us: 1_000.0, b_us: 0.5 };
        Candidate { endpoint: EndpointId(endpoint), cost, backlog_us, round_trip_us: 500.0, limits: LIMITS }
    }

    #[test]
    fn the_first_to_finish_is_picked_and_ties_are_spread() {
        let mut rng = StdRng::seed_from_u64(1);
        let fleet = [candidate(0, 9.0), candidate(1, 3.0), candidate(2, 3.0), candidate(3, 3.0)];
        let mut seen = [0; 4];
        for _ in 0..3_000 {
            let picked = best(&mut rng, &fleet, 100).unwrap().endpoint;
            seen[picked.0 as usize] += 1;
        }
        assert_eq!(seen[0], 0);
        assert!(seen[1..].iter().all(|&times| (850..1_150).contains(&times)), "{seen:?}");
        assert_eq!(best(&mut rng, &[], 100), None);
    }

    proptest! {
        #[test]
        fn more_of_anything_never_ranks_better(
            backlog in 0.0..1e7f64, more in 0.0..1e7f64, a in 0.0..1e5f64, b in 1e-3..1e3f64, tokens in 1u32..1_000_000,
        ) {
            let base = Candidate { cost: Cost { a_us: a, b_us: b }, ..candidate(0, backlog) };
            let tokens = f64::from(tokens);
            let score = base.finish_us(tokens);
            let busier = Candidate { backlog_us: backlog + more, ..base };
            let slower_start = Candidate { cost: Cost { a_us: a + more, b_us: b }, ..base };
            let slower = Candidate { cost: Cost { a_us: a, b_us: b + more }, ..base };
            for worse in [busier, slower_start, slower] {
                prop_assert!(worse.finish_us(tokens) >= score);
            }
            prop_assert!(base.finish_us(tokens + more) >= score);
        }
    }
}
