//! Picking one model of those that are served.

use std::sync::Arc;

use sortie_proto::v1::{ModelInfo, Task};

use super::Need;
use crate::{
    failure::{FailureKind, HttpFailure},
    options::HttpOptions,
};

/// Names in a sentence; more would not be read.
const SHOWN: usize = 32;

/// The model named, by its own name or an alias. Where none is named the only one made for the task, else the only one
/// that answers; where there are several the default, if it is one of them.
pub(super) fn pick(
    models: &[Arc<ModelInfo>],
    options: &HttpOptions,
    asked: Option<&str>,
    need: Need,
) -> Result<Arc<ModelInfo>, HttpFailure> {
    let able = |model: &&Arc<ModelInfo>| need.rpc.is_empty() || model.rpcs.iter().any(|rpc| rpc == need.rpc);
    if let Some(name) = asked.filter(|name| !name.is_empty()) {
        // A served name goes before an alias.
        let found = find(models, name).or_else(|| find(models, options.aliases.get(name)?));
        let Some(model) = found else {
            let message = format!("no model is named {name:?}; served: {}", names(models.iter().map(|m| &m.name)));
            return Err(HttpFailure::new(FailureKind::UnknownModel, message).at("model"));
        };
        return if able(&model) { Ok(Arc::clone(model)) } else { Err(wrong_task(models, model, need)) };
    }
    let candidates: Vec<_> = models.iter().filter(able).collect();
    let made_for: Vec<_> = candidates.iter().copied().filter(|model| model.task() == need.task).collect();
    let several = if made_for.is_empty() { &candidates } else { &made_for };
    let default = several.iter().find(|model| Some(&model.name) == options.default_model.as_ref());
    match (several.as_slice(), default, models) {
        ([only], ..) | (_, Some(only), _) => Ok(Arc::clone(only)),
        ([], _, []) => Err(HttpFailure::new(FailureKind::Unavailable, "no model is served")),
        ([], _, [only]) => Err(wrong_task(models, only, need)),
        ([], ..) => {
            let message = format!("no model that is served answers {}; served: {}", need.rpc, with_tasks(models));
            Err(HttpFailure::new(FailureKind::WrongTask, message).at("model"))
        }
        _ => {
            let message = format!("name a model; these would do: {}", names(several.iter().map(|m| &m.name)));
            Err(HttpFailure::new(FailureKind::ModelNotNamed, message).at("model"))
        }
    }
}

fn find<'a>(models: &'a [Arc<ModelInfo>], name: &str) -> Option<&'a Arc<ModelInfo>> {
    models.iter().find(|model| model.name == name)
}

fn wrong_task(models: &[Arc<ModelInfo>], model: &ModelInfo, need: Need) -> HttpFailure {
    let able = names(models.iter().filter(|m| m.rpcs.iter().any(|rpc| rpc == need.rpc)).map(|m| &m.name));
    let message = format!(
        "{} does not answer {}: it is {}; models that do: {able}",
        model.name,
        need.rpc,
        made_for(model.task())
    );
    HttpFailure::new(FailureKind::WrongTask, message).at("model")
}

fn with_tasks(models: &[Arc<ModelInfo>]) -> String {
    let all: Vec<String> = models.iter().map(|model| format!("{} ({})", model.name, made_for(model.task()))).collect();
    names(all.iter())
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    match names.len() {
        0 => "none".to_owned(),
        count if count > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), count - SHOWN),
        _ => names.join(", "),
    }
}

/// What a task means to a person.
fn made_for(task: Task) -> &'static str {
    match task {
        Task::Rerank => "a reranker",
        Task::Classify => "a classifier",
        Task::Tag => "a tagger",
        Task::Embed => "an embedding model",
        Task::EmbedSparse => "a sparse embedding model",
        Task::LateInteraction => "a late-interaction model",
        Task::Unspecified => "a model of another kind",
    }
}
