//! What a task means: to a person, on the wire, and for the RPCs it makes sense for.

use sortie_engine::{
    Activation, EncodeOptions, InputError, LateSimilarity, ModelInfo, Pooling, Role, Task, Tokenizer, TruncationSide,
};
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
        Task::ZeroShotTagging { .. } => "a tagger of labels that come with the request".to_owned(),
        _ => "a model of another kind".to_owned(),
    }
}

/// The RPCs that a model makes sense for; the ones that only look are answered by all.
pub(super) fn rpcs(info: &ModelInfo) -> Vec<&'static str> {
    let mut rpcs = info.rpcs();
    rpcs.extend(["GetModel", "Probe"]);
    rpcs
}

pub(super) fn proto_task(task: &Task) -> v1::Task {
    match task {
        Task::SequenceClassification { labels, .. } if labels.len() == 1 => v1::Task::Rerank,
        Task::SequenceClassification { .. } => v1::Task::Classify,
        Task::TokenClassification { .. } | Task::ZeroShotTagging { .. } => v1::Task::Tag,
        Task::Embedding => v1::Task::Embed,
        Task::SparseEmbedding => v1::Task::EmbedSparse,
        Task::LateInteraction => v1::Task::LateInteraction,
        _ => v1::Task::Unspecified,
    }
}

pub(super) fn proto_pooling(task: &Task, pooling: Option<Pooling>) -> v1::Pooling {
    match (task, pooling) {
        (Task::Embedding, Some(Pooling::Cls)) => v1::Pooling::Cls,
        (Task::Embedding, Some(Pooling::Mean)) => v1::Pooling::Mean,
        (Task::Embedding, Some(Pooling::Max)) => v1::Pooling::Max,
        (Task::Embedding, Some(Pooling::Last)) => v1::Pooling::Last,
        (Task::Embedding, Some(Pooling::MeanSqrtLen)) => v1::Pooling::MeanSqrtLen,
        (Task::Embedding, Some(Pooling::WeightedMean)) => v1::Pooling::WeightedMean,
        _ => v1::Pooling::Unspecified,
    }
}

/// What the logits of a head mean, as config.json names it.
pub(super) fn problem_type(task: &Task) -> &'static str {
    match task {
        Task::SequenceClassification { problem, .. } => problem.name(),
        _ => "",
    }
}

/// Words of a text and of a span, where words are counted.
pub(super) fn words(task: &Task) -> [usize; 2] {
    match task {
        Task::ZeroShotTagging { most_words, width } => [*most_words, width.unwrap_or(0)],
        _ => [0, 0],
    }
}

/// The roles that a model takes; none where it reads all texts alike.
pub(super) fn roles(info: &ModelInfo, tokenizer: &Tokenizer) -> Vec<v1::Role> {
    if !info.reads_roles {
        return Vec::new();
    }
    Role::ALL.into_iter().filter(|role| takes(tokenizer, Some(*role))).map(|role| proto_role(Some(role))).collect()
}

/// Whether a model has a way for texts of a role.
pub(super) fn takes(tokenizer: &Tokenizer, role: Option<Role>) -> bool {
    let options = EncodeOptions { role, ..EncodeOptions::default() };
    !matches!(tokenizer.encode("", &options), Err(InputError::BadRole(_)))
}

/// The prompts that go before texts where nobody asks for one.
pub(super) fn role_prompts(info: &ModelInfo) -> Vec<v1::RolePrompt> {
    let prompt = |role| {
        let text = info.prompt_of(role).filter(|text| !text.is_empty())?;
        Some(v1::RolePrompt { role: proto_role(role).into(), text: text.to_owned() })
    };
    [None, Some(Role::Query), Some(Role::Document)].into_iter().filter_map(prompt).collect()
}

fn proto_role(role: Option<Role>) -> v1::Role {
    match role {
        None => v1::Role::Unspecified,
        Some(Role::Query) => v1::Role::Query,
        Some(Role::Document) => v1::Role::Document,
    }
}

pub(super) fn proto_side(side: TruncationSide) -> v1::TruncationSide {
    match side {
        TruncationSide::Left => v1::TruncationSide::Left,
        TruncationSide::Right => v1::TruncationSide::Right,
    }
}

/// How token vectors are compared.
pub(super) fn late_similarity(by: Option<LateSimilarity>) -> &'static str {
    by.map_or("", LateSimilarity::name)
}

/// An activation as the contract names it.
pub(crate) fn proto_activation(activation: Activation) -> v1::Activation {
    match activation {
        Activation::Raw => v1::Activation::Raw,
        Activation::Sigmoid => v1::Activation::Sigmoid,
        Activation::Softmax => v1::Activation::Softmax,
    }
}
