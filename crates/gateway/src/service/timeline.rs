//! The attempts of a job as the page shows them: servers, sizes and times.

use std::time::Duration;

use sortie_client::{ChunkReport, LostAttempt, Report};
use sortie_page::PageAttempt;

/// Attempts of a job that began `after` its request arrived.
pub(super) fn attempts(report: &Report, after: Duration) -> Vec<PageAttempt> {
    let answered = report.chunks.iter().map(|chunk| answered(chunk, after));
    answered.chain(report.lost.iter().map(|attempt| lost(attempt, after))).collect()
}

fn answered(chunk: &ChunkReport, after: Duration) -> PageAttempt {
    PageAttempt {
        server: chunk.endpoint.clone(),
        items: chunk.items,
        tokens: chunk.tokens,
        attempt: chunk.attempt,
        hedge: chunk.hedge,
        outcome: "ok",
        began: after + chunk.began,
        took: chunk.elapsed,
        at_server: chunk.total,
        tokenize: chunk.tokenize,
        queue: chunk.queue,
        compute: chunk.compute,
    }
}

fn lost(attempt: &LostAttempt, after: Duration) -> PageAttempt {
    PageAttempt {
        server: attempt.endpoint.clone(),
        items: attempt.items,
        tokens: attempt.estimated_tokens,
        attempt: attempt.attempt,
        hedge: attempt.hedge,
        outcome: attempt.outcome,
        began: after + attempt.began,
        took: attempt.elapsed,
        ..PageAttempt::default()
    }
}
