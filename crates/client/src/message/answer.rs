//! The parts that every answer has, made of what is known of the whole job.

use sortie_proto::v1;

use crate::report::{ItemError, Report};

/// Microseconds, as the contract counts.
fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Per-item facts of the whole job.
pub(super) fn items(report: &Report) -> v1::ItemInfo {
    let error = |error: &ItemError| v1::ItemError {
        index: u32::try_from(error.index).unwrap_or(u32::MAX),
        reason: error.reason.clone(),
        message: error.message.clone(),
    };
    v1::ItemInfo {
        tokens: report.tokens.clone(),
        truncated: report.truncated.clone(),
        errors: report.errors.iter().map(error).collect(),
        windows: report.windows.clone(),
    }
}

/// Where the time of the whole job went: the longest waits of its chunks, the sum of their work.
pub(super) fn chunk(report: &Report) -> v1::ChunkInfo {
    let chunks = || report.chunks.iter();
    let batches = || chunks().flat_map(|chunk| &chunk.batches);
    v1::ChunkInfo {
        model: report.model.clone(),
        model_revision: report.revisions.join(","),
        replica: String::new(),
        job_id: report.job_id.clone(),
        tokenize_us: chunks().map(|chunk| micros(chunk.tokenize)).max().unwrap_or_default(),
        queue_us: chunks().map(|chunk| micros(chunk.queue)).max().unwrap_or_default(),
        compute_us: chunks().map(|chunk| micros(chunk.compute)).sum(),
        total_us: micros(report.elapsed),
        batch_ms: batches().map(|batch| batch.duration.as_secs_f32() * 1e3).collect(),
        batch_tokens: batches().map(|batch| batch.tokens).collect(),
        batch_work: batches().map(|batch| batch.work).collect(),
        tokens: chunks().map(|chunk| chunk.tokens).sum(),
    }
}
