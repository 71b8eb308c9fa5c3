//! What happens in a run, in the order of time.

use sortie_dispatch::{AnswerReport, AttemptId, BatchSample, Failure, LoadReport, ProbeId};

use crate::scenario::Fault;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) client: usize,
    pub(crate) job: usize,
    pub(crate) attempt: AttemptId,
}

#[derive(Clone, Debug)]
pub(crate) struct ServerChunk {
    pub(crate) key: Key,
    pub(crate) left: u64,
    pub(crate) batches: Vec<BatchSample>,
}

#[derive(Debug)]
pub(crate) enum Happening {
    Arrive,
    Reach { server: usize, chunk: ServerChunk },
    Drop { server: usize, key: Key },
    BatchEnds { server: usize, generation: u64 },
    Answer { key: Key, result: Result<AnswerReport, Failure> },
    ProbeReach { server: usize, client: usize, job: Option<usize>, probe: ProbeId, tokens: u64 },
    ProbeAnswer { client: usize, job: Option<usize>, probe: ProbeId, result: Result<LoadReport, Failure> },
    WakeJob { client: usize, job: usize },
    WakeFleet { client: usize },
    StallNext { server: usize },
    Fault { server: usize, fault: Fault },
}

#[derive(Debug)]
pub(crate) struct Entry(pub(crate) f64, pub(crate) u64, pub(crate) Happening);
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}
