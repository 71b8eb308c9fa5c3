//! EmbedSparse: vectors over the vocabulary, in three flat lists.

use sortie_engine::{Output, Task, Want, heaviest};
use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::v1;

use super::{convert::parse_inputs, work::run};
use crate::{
    models::Registry,
    pipeline::{InferenceRequest, InputKind, Item, check_list, item_info, text_rules},
};

/// Turns inputs into sparse vectors.
pub(super) async fn embed_sparse(
    registry: &Registry,
    context: &RequestContext,
    request: v1::EmbedSparseRequest,
) -> Result<v1::EmbedSparseResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served.clone());
    if served.info().task != Task::SparseEmbedding {
        return Err(served.wrong_task("EmbedSparse"));
    }
    check_list("inputs", &request.inputs, served.limits.max_items)?;
    let rules = text_rules(served, request.options)?;
    let work = InferenceRequest {
        inputs: parse_inputs(request.inputs, &rules),
        input_kind: InputKind::Alone,
        want: Want::Sparse,
    };
    let (items, chunk) = run(served, context, work).await?;
    let most = if request.top_k == 0 { usize::MAX } else { request.top_k as usize };
    let mut answer = v1::EmbedSparseResponse { offsets: vec![0], ..v1::EmbedSparseResponse::default() };
    for item in &items {
        if let Ok(Item { output: Output::Sparse(entries), .. }) = item {
            for (index, weight) in heaviest(entries.clone(), most) {
                answer.indices.push(index);
                answer.weights.push(weight);
            }
        }
        answer.offsets.push(u32::try_from(answer.indices.len()).unwrap_or(u32::MAX));
    }
    answer.items = Some(item_info(&items));
    answer.chunk = Some(chunk);
    Ok(answer)
}
