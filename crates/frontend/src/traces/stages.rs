//! The stages of a request's chunk, noted on the way.

use std::time::Duration;

use parking_lot::Mutex;
use sortie_proto::v1::ChunkInfo;
use tokio::time::Instant;

/// One stage of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) name: &'static str,
    pub(super) begun: Instant,
    pub(super) ended: Instant,
}

/// Stages noted of one request.
#[derive(Debug, Default)]
pub struct Stages(Mutex<Vec<Stage>>);

impl Stages {
    /// Notes a chunk that was in the pipeline from `begun` to `ended`. Its lengths are measured; stages
    /// that overlap, as tokenizing and waiting do, are put where they end at the latest.
    pub fn chunk(&self, arrived: Instant, begun: Instant, ended: Instant, chunk: &ChunkInfo) {
        let within =
            |us: u64, upto: Instant| upto.checked_sub(Duration::from_micros(us)).map_or(begun, |from| from.max(begun));
        let compute = within(chunk.compute_us, ended);
        let queue = within(chunk.queue_us, compute);
        let tokenized = (begun + Duration::from_micros(chunk.tokenize_us)).min(ended);
        let stage = |name, begun, ended| Stage { name, begun, ended };
        self.0.lock().extend([
            stage("admit", arrived.min(begun), begun),
            stage("tokenize", begun, tokenized),
            stage("queue", queue, compute),
            stage("compute", compute, ended),
        ]);
    }

    /// All that were noted.
    pub(super) fn all(&self) -> Vec<Stage> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stages_lie_within_their_chunk_and_run_forwards(
            us in prop::array::uniform3(0u64..2_000_000), length in 0u64..1_000_000
        ) {
            let arrived = Instant::now();
            let begun = arrived + Duration::from_micros(10);
            let ended = begun + Duration::from_micros(length);
            let chunk = ChunkInfo { tokenize_us: us[0], queue_us: us[1], compute_us: us[2], ..ChunkInfo::default() };
            let stages = Stages::default();
            stages.chunk(arrived, begun, ended, &chunk);
            let stages = stages.0.into_inner();
            prop_assert_eq!(stages.iter().map(|s| s.name).collect::<Vec<_>>(), ["admit", "tokenize", "queue", "compute"]);
            prop_assert!(stages.iter().all(|s| s.begun <= s.ended && s.begun >= arrived && s.ended <= ended));
        }
    }
}
