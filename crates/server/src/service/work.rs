//! A part's way through the pipeline, with what it took counted.

use std::sync::Arc;

use sortie_proto::v1::PartInfo;

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
    let (items, part) = pipeline::run(served, context, work).await?;
    let failed = items.iter().filter(|item| item.is_err()).count();
    let truncated = items.iter().flatten().filter(|item| item.truncated).count();
    context.metrics.requests.part(&part, items.len(), failed, truncated);
    Ok((items, part))
}
