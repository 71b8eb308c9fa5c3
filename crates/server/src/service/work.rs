//! A chunk's way through the pipeline, with what it took counted and noted.

use std::sync::Arc;

use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::v1::ChunkInfo;
use sortie_scheduler::Admission;
use tokio::time::Instant;

use crate::{
    backend::EngineBackend,
    models::Served,
    pipeline::{self, InferenceRequest, Items},
};

/// Admits `work` and runs it on `served`.
pub(super) async fn run(
    served: &Arc<Served>,
    context: &RequestContext,
    work: InferenceRequest,
) -> Result<(Items, ChunkInfo), ServeError> {
    let admission = pipeline::admit(served, context, &work.inputs, None)?;
    run_admitted(served, context, admission, work).await
}

/// Runs `work`, for which there is room, on `served`.
pub(super) async fn run_admitted(
    served: &Arc<Served>,
    context: &RequestContext,
    admission: Admission<EngineBackend>,
    work: InferenceRequest,
) -> Result<(Items, ChunkInfo), ServeError> {
    let begun = Instant::now();
    let (items, chunk) = pipeline::run(served, context, admission, work).await?;
    context.note_chunk(begun, &chunk, items.len());
    if context.parent.is_some() {
        context.stages().chunk(context.arrived, begun, Instant::now(), &chunk);
    }
    let failed = items.iter().filter(|item| item.is_err()).count();
    let truncated = items.iter().flatten().filter(|item| item.truncated).count();
    context.metrics.chunk(&chunk, items.len(), failed, truncated);
    Ok((items, chunk))
}
