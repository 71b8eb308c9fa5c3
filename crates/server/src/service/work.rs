//! A part's way through the pipeline, with what it took counted and noted.

use std::sync::Arc;

use sortie_proto::v1::PartInfo;
use sortie_scheduler::Admission;
use tokio::time::Instant;

use crate::{
    backend::EngineBackend,
    context::RequestContext,
    errors::ServeError,
    models::Served,
    pipeline::{self, Items, Work},
};

/// Admits `work` and runs it on `served`.
pub(super) async fn run(
    served: &Arc<Served>,
    context: &RequestContext,
    work: Work,
) -> Result<(Items, PartInfo), ServeError> {
    let admission = pipeline::admit(served, context, &work.asked, None)?;
    run_admitted(served, context, admission, work).await
}

/// Runs `work`, for which there is room, on `served`.
pub(super) async fn run_admitted(
    served: &Arc<Served>,
    context: &RequestContext,
    admission: Admission<EngineBackend>,
    work: Work,
) -> Result<(Items, PartInfo), ServeError> {
    let begun = Instant::now();
    let (items, part) = pipeline::run(served, context, admission, work).await?;
    if context.parent.is_some() {
        context.stages().part(context.arrived, begun, Instant::now(), &part);
    }
    let failed = items.iter().filter(|item| item.is_err()).count();
    let truncated = items.iter().flatten().filter(|item| item.truncated).count();
    context.metrics.requests.part(&part, items.len(), failed, truncated);
    Ok((items, part))
}
