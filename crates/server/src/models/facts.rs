//! What a task means: to a person, on the wire, and for the RPCs it makes sense for.

use sortie_engine::{ModelInfo, Pooling, Task};
use sortie_proto::v1;

/// What a task means to a person.
pub(super) fn made_for(task: &Task) -> String {
    match task {
        Task::SequenceClassification { labels, .. } if labels.len() == 1 => "a reranker".to_owned(),
        Task::SequenceClassification { labels, .. } => format!("a classifier of {} labels", labels.len()),
        Task::TokenClassification { labels } => format!("a tagger of {} labels", labels.len()),
        Task::Embedding => "an embedding model".to_owned(),
        Task::SparseEmbedding => "a sparse embedding model".to_owned(),
        Task::LateInteraction => "a late-interaction model".to_owned(),
        _ => "a model of another kind".to_owned(),
    }
}

/// RPCs of models that this server answers.
const SERVED: [&str; 7] = ["Rerank", "Classify", "TagTokens", "Embed", "Similarity", "EmbedSparse", "Tokenize"];

/// The RPCs that a model makes sense for and that are served; the ones that only look are answered by all.
pub(super) fn rpcs(info: &ModelInfo) -> Vec<&'static str> {
    let mut rpcs = info.rpcs();
    rpcs.retain(|rpc| SERVED.contains(rpc));
    rpcs.extend(["GetModel", "Probe"]);
    rpcs
}

/// Why a model cannot be served at all. The calls have no field yet that says whether a text is a query or a document,
/// and without it a model that reads them apart would refuse every text, or take one way for all.
pub(super) fn refused(info: &ModelInfo) -> Option<&'static str> {
    if !info.reads_roles {
        return None;
    }
    Some(match info.task {
        Task::LateInteraction => "it is a late-interaction model, and no call gives its vectors, one a token",
        _ => "its Router has a way of its own for queries or documents, and no call says which a text is",
    })
}

pub(super) fn proto_task(task: &Task) -> v1::Task {
    match task {
        Task::SequenceClassification { labels, .. } if labels.len() == 1 => v1::Task::Rerank,
        Task::SequenceClassification { .. } => v1::Task::Classify,
        Task::TokenClassification { .. } => v1::Task::Tag,
        Task::Embedding => v1::Task::Embed,
        Task::SparseEmbedding => v1::Task::EmbedSparse,
        _ => v1::Task::Unspecified,
    }
}

pub(super) fn proto_pooling(task: &Task, pooling: Option<Pooling>) -> v1::Pooling {
    match (task, pooling) {
        (Task::Embedding, Some(Pooling::Cls)) => v1::Pooling::Cls,
        (Task::Embedding, Some(Pooling::Mean)) => v1::Pooling::Mean,
        (Task::Embedding, Some(Pooling::Max)) => v1::Pooling::Max,
        (Task::Embedding, Some(Pooling::Last)) => v1::Pooling::Last,
        _ => v1::Pooling::Unspecified,
    }
}

#[cfg(test)]
mod tests {
    use sortie_engine::EmbedSpec;

    use super::*;

    fn info(task: Task, reads_roles: bool) -> ModelInfo {
        ModelInfo {
            model_type: "bert".to_owned(),
            architecture: "BertModel".to_owned(),
            task,
            max_length: 512,
            vocab_size: 100,
            dimensions: 8,
            embed: EmbedSpec::default(),
            pooling: None,
            normalize: false,
            activation: None,
            late_similarity: None,
            similarity: None,
            reads_roles,
            gives_tokens: true,
            prompts: Vec::new(),
            default_prompt: None,
            layer_parameters: None,
            revision: String::new(),
            engine: "native",
            precision: "f32",
            device: "cpu".to_owned(),
        }
    }

    #[test]
    fn models_that_read_roles_apart_are_refused_by_name() {
        assert_eq!(refused(&info(Task::Embedding, false)), None);
        assert!(refused(&info(Task::SparseEmbedding, true)).unwrap().contains("Router"));
        assert!(refused(&info(Task::LateInteraction, true)).unwrap().contains("late-interaction"));
    }

    #[test]
    fn only_rpcs_that_are_answered_are_named() {
        let named = rpcs(&info(Task::Embedding, false));
        assert_eq!(named, ["Embed", "Similarity", "Rerank", "Tokenize", "GetModel", "Probe"]);
    }
}
