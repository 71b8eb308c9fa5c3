//! EmbedSparse: vectors over the vocabulary, in three flat lists.

use sortie_engine::{Output, Task, Want};
use sortie_proto::v1;

use super::{convert::parse_inputs, work::run};
use crate::{
    context::RequestContext,
    errors::ServeError,
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
    context.note_model(served);
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
    let mut answer = v1::EmbedSparseResponse { offsets: vec![0], ..v1::EmbedSparseResponse::default() };
    for item in &items {
        if let Ok(Item { output: Output::Sparse(entries), .. }) = item {
            for (index, weight) in heaviest(entries, request.top_k as usize) {
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

/// The `top_k` heaviest entries (0: all), ids ascending; of equal weights the lower id stays.
fn heaviest(entries: &[(u32, f32)], top_k: usize) -> Vec<(u32, f32)> {
    let mut kept = entries.to_vec();
    if top_k > 0 && top_k < kept.len() {
        kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        kept.truncate(top_k);
        kept.sort_by_key(|(id, _)| *id);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_stay_in_id_order() {
        let entries = [(1, 0.5), (4, 2.0), (7, 0.5), (9, 1.0)];
        assert_eq!(heaviest(&entries, 3), [(1, 0.5), (4, 2.0), (9, 1.0)]);
        assert_eq!(heaviest(&entries, 0), entries);
        assert_eq!(heaviest(&entries, 10), entries);
    }
}
