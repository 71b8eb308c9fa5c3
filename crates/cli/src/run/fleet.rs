//! `sortie models` and `sortie probe`: every endpoint is asked.

use sortie_client::{ModelInfo, ModelLimits, ModelState, PerEndpoint, Pooling, Task};

use super::print::print;
use crate::{
    args::{ModelsArgs, ProbeArgs},
    collect::us,
    context::CommandContext,
    exit::{CommandFailure, Exit},
    failure,
    report::{ItemFailure, LimitsRow, ModelList, ModelRow, ProbeRow, Probes},
};

/// Lists the models of every endpoint.
pub(crate) fn models(_: &ModelsArgs, context: &CommandContext) -> Result<Exit, CommandFailure> {
    let answers = context.unconnected(|client| async move { Ok(client.list_models().await?) })?;
    let (answered, errors) = split(answers)?;
    let rows = answered
        .into_iter()
        .flat_map(|(endpoint, _, models)| models.into_iter().map(move |model| model_row(endpoint.clone(), model)));
    print(&ModelList { results: rows.collect(), errors }, &context.output)
}

/// Asks every endpoint how loaded a model is.
pub(crate) fn probe(_: &ProbeArgs, context: &CommandContext) -> Result<Exit, CommandFailure> {
    let answers = context.unconnected(|client| async move { Ok(client.probe().await?) })?;
    let (answered, errors) = split(answers)?;
    let rows = answered.into_iter().map(|(endpoint, elapsed_us, load)| ProbeRow {
        endpoint,
        replica: load.replica,
        epoch: load.epoch,
        state: state(load.state),
        queue_wait_ms: load.queue_wait.as_secs_f64() * 1e3,
        busy: load.busy,
        queued_tokens: load.queued_tokens,
        running_tokens: load.running_tokens,
        a_ms: load.a.as_secs_f64() * 1e3,
        b_us: load.b_us,
        knee_tokens: load.knee_tokens,
        rate_tokens_per_second: load.tokens_per_second,
        overdue: load.overdue,
        limits: limits(load.limits),
        elapsed_us,
    });
    print(&Probes { results: rows.collect(), errors }, &context.output)
}

/// What an endpoint answered: address, microseconds, answer.
type EndpointAnswer<T> = (String, u64, T);

/// Separates answers from failures; where nobody answered, the first failure is the command's.
fn split<T>(answers: Vec<PerEndpoint<T>>) -> Result<(Vec<EndpointAnswer<T>>, Vec<ItemFailure>), CommandFailure> {
    let (mut answered, mut errors, mut first) = (Vec::new(), Vec::new(), None);
    for (index, PerEndpoint { endpoint, elapsed, result, .. }) in answers.into_iter().enumerate() {
        match result {
            Ok(answer) => answered.push((endpoint, us(elapsed), answer)),
            Err(error) => {
                let reason = error.reason().map_or_else(|| error.kind().reason(), str::to_owned);
                let message = format!("{endpoint}: {}", failure::message(&error));
                errors.push(ItemFailure { index, id: Some(endpoint.into()), reason, message });
                first.get_or_insert(error);
            }
        }
    }
    match first {
        Some(error) if answered.is_empty() => Err(error.into()),
        _ => Ok((answered, errors)),
    }
}

fn model_row(endpoint: String, model: ModelInfo) -> ModelRow {
    let task = match model.task {
        Task::Rerank => "rerank",
        Task::Classify => "classify",
        Task::Tag => "tag",
        Task::Embed => "embed",
        Task::EmbedSparse => "embed_sparse",
        _ => "unknown",
    };
    let pooling = match model.pooling {
        Some(Pooling::Cls) => "cls",
        Some(Pooling::Mean) => "mean",
        Some(Pooling::Max) => "max",
        Some(Pooling::Last) => "last",
        _ => "",
    };
    ModelRow {
        endpoint,
        task: task.to_owned(),
        pooling: pooling.to_owned(),
        state: state(model.state),
        limits: limits(model.limits),
        prompts: model.prompts.into_iter().map(|prompt| (prompt.name, prompt.text)).collect(),
        name: model.name,
        revision: model.revision,
        model_type: model.model_type,
        architecture: model.architecture,
        rpcs: model.rpcs,
        labels: model.labels,
        labels_in_request: model.labels_in_request,
        multi_label: model.multi_label,
        max_length: model.max_length,
        dimensions: model.dimensions,
        normalize: model.normalize,
        vocab_size: model.vocab_size,
        engine: model.engine,
        device: model.device,
        precision: model.precision,
    }
}

fn state(state: ModelState) -> String {
    let word = match state {
        ModelState::Loading => "loading",
        ModelState::Ready => "ready",
        ModelState::Draining => "draining",
        ModelState::Failed => "failed",
        _ => "unknown",
    };
    word.to_owned()
}

fn limits(limits: ModelLimits) -> LimitsRow {
    LimitsRow {
        max_batch_tokens: limits.max_batch_tokens,
        max_items: limits.max_items,
        max_message_bytes: limits.max_message_bytes,
        max_text_bytes: limits.max_text_bytes,
        max_queue_tokens: limits.max_queue_tokens,
    }
}
