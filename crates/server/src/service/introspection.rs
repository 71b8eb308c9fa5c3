//! GetModel, ListModels and Probe: they look and touch no queue, so they answer
//! in microseconds on a full server.

use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::v1;

use crate::models::Registry;

/// Describes one model.
pub(super) fn get_model(
    registry: &Registry,
    context: &RequestContext,
    request: &v1::GetModelRequest,
) -> Result<v1::GetModelResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served.clone());
    Ok(v1::GetModelResponse { model: Some(served.describe()) })
}

/// Describes every model, in name order.
pub(super) fn list_models(registry: &Registry, context: &RequestContext) -> v1::ListModelsResponse {
    // With one model its load says it all; with several there is no one load to send.
    if let Ok(only) = registry.get("") {
        context.note_model(only);
    }
    v1::ListModelsResponse { models: registry.all().iter().map(|served| served.describe()).collect() }
}

/// A model's load now.
pub(super) fn probe(
    registry: &Registry,
    context: &RequestContext,
    request: &v1::ProbeRequest,
) -> Result<v1::ProbeResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served.clone());
    let report = served.load_report();
    // After the report: nobody waits for himself.
    served.reserve(request.tokens);
    Ok(v1::ProbeResponse { report: Some(report), replica: served.replica.to_string() })
}
