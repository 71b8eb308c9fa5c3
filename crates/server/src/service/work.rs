//! A part's way through the pipeline, with what it took counted and noted.

use std::sync::Arc;

use sortie_proto::v1::PartInfo;
use tokio::time::Instant;

use crate::{
    context::RequestContext,
    errors::ServeError,
    models::Served,
    pipeline::{self, Items, Work},
};

/// Runs `work` on `served`.
pub(super) async fn run(
    served: &Arc<Served>,
    context: &RequestContext,
    work: Work,
) -> Result<(Items, PartInfo), ServeError> {
    let begun = Instant::now();
    let (items, part) = pipeline::run(served, context, work).await?;
    if context.parent.is_some() {
        context.stages().part(context.arrived, begun, Instant::now(), &part);
    }
    let failed = items.iter().filter(|item| item.is_err()).count();
    let truncated = items.iter().flatten().filter(|item| item.truncated).count();
    context.metrics.requests.part(&part, items.len(), failed, truncated);
    Ok((items, part))
}
