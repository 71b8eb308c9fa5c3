//! Which output of a graph answers a task.
//!
//! Only float outputs count. The rule, first match wins; where several match, the
//! first in the graph's order:
//!
//! | task | choice |
//! | --- | --- |
//! | embedding | 1. `[B, H]` named like a sentence embedding; 2. `[B, S, H]` named like token states; 3. any other `[B, H]`; 4. any other `[B, S, H]`; 5. BERT's pooler: named `pooler_output` or made by Tanh, which was trained for something else |
//! | labels | `[B, C]` (or `[B]` for one label): named `logits`, else any |
//! | token labels | `[B, S, C]`: named `logits`, else any |
//! | sparse | `[B, V]`, taken as finished weights, or `[B, S, V]` logits: by name, else any |
//!
//! A known C or V must be the number of labels or of vocabulary entries. An output
//! made by Softmax or Sigmoid is no logit and is refused. A pooled embedding is
//! taken as it is: the folder's pooling and dense layers are inside the graph.

use std::path::Path;

use super::{port::Port, signature::Signature};
use crate::{
    error::LoadError,
    task::{Problem, Task},
};

const SENTENCE_NAMES: [&str; 7] = [
    "sentence_embedding",
    "sentence_embeddings",
    "text_embeds",
    "text_embedding",
    "text_embeddings",
    "embedding",
    "embeddings",
];
const STATE_NAMES: [&str; 5] =
    ["last_hidden_state", "token_embeddings", "hidden_states", "sequence_output", "encoder_output"];
const POOLER_NAMES: [&str; 2] = ["pooler_output", "pooled_output"];
const LOGIT_NAMES: [&str; 3] = ["logits", "scores", "output"];
const SPARSE_NAMES: [&str; 4] = ["sparse_embedding", "sparse_embeddings", "sentence_embedding", "logits"];

/// Better is smaller.
type Preference = u8;

/// The output that answers `task`. `vocab` is the size of the vocabulary.
///
/// # Errors
/// When none does; the error lists what the graph gives.
pub(crate) fn choose<'a>(
    signature: &'a Signature,
    task: &Task,
    vocab: usize,
    path: &Path,
) -> Result<&'a Port, LoadError> {
    let floats = signature.outputs.iter().filter(|p| p.elem.is_float());
    let best = floats.filter_map(|p| Some((preference(p, task, vocab)?, p))).min_by_key(|(preference, _)| *preference);
    let Some((_, port)) = best else {
        let given: Vec<_> = signature.outputs.iter().map(describe).collect();
        return Err(LoadError::unsupported(
            path,
            format!("no output is {}; the graph gives {}", wanted(task, vocab), given.join(", ")),
        ));
    };
    if !matches!(task, Task::Embedding | Task::SparseEmbedding | Task::LateInteraction)
        && matches!(port.made_by.as_str(), "Softmax" | "Sigmoid")
    {
        return Err(LoadError::unsupported(
            path,
            format!(
                "output {:?} is made by {} and so holds no logits; export the model without it",
                port.name, port.made_by
            ),
        ));
    }
    Ok(port)
}

/// The task a graph was exported for, by its outputs alone; `None` where they do not tell.
pub(crate) fn guess_task(signature: &Signature, vocab: usize) -> Option<Task> {
    let floats = || signature.outputs.iter().filter(|p| p.elem.is_float());
    if let Some(logits) = floats().find(|p| p.plain_name() == "logits") {
        let labels = |n: usize| (0..n).map(|i| format!("LABEL_{i}")).collect();
        return match (logits.rank()?, logits.width()?) {
            (3, n) if n == vocab => Some(Task::SparseEmbedding),
            (3, n) => Some(Task::TokenClassification { labels: labels(n) }),
            (2, n) => Some(Task::SequenceClassification { labels: labels(n), problem: Problem::SingleLabel }),
            _ => None,
        };
    }
    preference_of_any(floats(), vocab).then_some(Task::Embedding)
}

fn preference_of_any<'a>(mut ports: impl Iterator<Item = &'a Port>, vocab: usize) -> bool {
    ports.any(|p| preference(p, &Task::Embedding, vocab).is_some())
}

fn preference(port: &Port, task: &Task, vocab: usize) -> Option<Preference> {
    let name = port.plain_name();
    let named = |names: &[&str]| names.contains(&name.as_str());
    let rank = port.rank();
    let could_be = |r: usize| rank.is_none_or(|rank| rank == r);
    let fits = |n: usize| port.width().is_none_or(|w| w == n);
    match task {
        // Token states, by name before any other.
        Task::LateInteraction => could_be(3).then(|| by_name(&name, &STATE_NAMES)),
        Task::Embedding => match () {
            () if !could_be(2) && !could_be(3) => None,
            () if could_be(2) && named(&SENTENCE_NAMES) => Some(1),
            () if could_be(3) && named(&STATE_NAMES) => Some(2),
            () if named(&POOLER_NAMES) || (could_be(2) && port.made_by == "Tanh") => Some(5),
            () if could_be(2) => Some(3),
            () => Some(4),
        },
        Task::SequenceClassification { labels, .. } => {
            let one = labels.len() == 1 && rank == Some(1);
            (one || (could_be(2) && fits(labels.len()))).then(|| by_name(&name, &LOGIT_NAMES))
        }
        Task::TokenClassification { labels } => {
            (could_be(3) && fits(labels.len())).then(|| by_name(&name, &LOGIT_NAMES))
        }
        Task::ZeroShotTagging { .. } => None,
        Task::SparseEmbedding => ((could_be(2) || could_be(3)) && fits(vocab)).then(|| by_name(&name, &SPARSE_NAMES)),
    }
}

/// Names in order of preference, then all others.
fn by_name(name: &str, names: &[&str]) -> Preference {
    let at = names.iter().position(|n| *n == name).unwrap_or(names.len());
    Preference::try_from(at).unwrap_or(Preference::MAX)
}

fn wanted(task: &Task, vocab: usize) -> String {
    match task {
        Task::Embedding => "a float tensor [batch, size] or [batch, sequence, size]".to_owned(),
        Task::LateInteraction => "a float tensor [batch, sequence, size]".to_owned(),
        Task::SequenceClassification { labels, .. } => {
            format!("a float tensor [batch, {}] of label logits", labels.len())
        }
        Task::TokenClassification { labels } => {
            format!("a float tensor [batch, sequence, {}] of label logits", labels.len())
        }
        Task::ZeroShotTagging { .. } => "nothing: labels of the request are served natively alone".to_owned(),
        Task::SparseEmbedding => format!("a float tensor [batch, {vocab}] or [batch, sequence, {vocab}]"),
    }
}

fn describe(port: &Port) -> String {
    let dims = port.dims.as_ref().map_or("?".to_owned(), |dims| {
        dims.iter().map(|d| d.map_or("?".to_owned(), |d| d.to_string())).collect::<Vec<_>>().join(", ")
    });
    format!("{:?} ({:?} [{dims}])", port.name, port.elem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generic::port::ElementType;

    const VOCAB: usize = 30522;

    fn port(name: &str, elem: ElementType, dims: &[usize], made_by: &str) -> Port {
        // 0 stands for a free dimension.
        let dims = Some(dims.iter().map(|&d| (d > 0).then_some(d)).collect());
        Port { name: name.to_owned(), elem, dims, made_by: made_by.to_owned() }
    }

    fn graph(outputs: Vec<Port>) -> Signature {
        Signature { inputs: Vec::new(), outputs, vocab: None, positions: None, scales_by_run: false }
    }

    #[track_caller]
    fn chosen(outputs: Vec<Port>, task: &Task, want: &str) {
        let signature = graph(outputs);
        assert_eq!(choose(&signature, task, VOCAB, Path::new("m.onnx")).unwrap().name, want);
    }

    fn labels(n: usize) -> Vec<String> {
        vec![String::new(); n]
    }

    #[test]
    fn the_pooled_one_of_four_odd_outputs_is_the_embedding() {
        chosen(
            vec![
                port("output", ElementType::I64, &[0, 0], "Identity"),
                port("463", ElementType::I64, &[0, 0], "Identity"),
                port("onnx::Shape_422", ElementType::F32, &[0, 0, 384], "LayerNormalization"),
                port("461", ElementType::F32, &[0, 0], "Concat"),
            ],
            &Task::Embedding,
            "461",
        );
    }

    #[test]
    fn berts_pooler_is_the_last_resort_by_name_or_by_tanh() {
        let states = |name: &str| port(name, ElementType::F32, &[0, 0, 8], "LayerNormalization");
        chosen(
            vec![port("pooler_output", ElementType::F32, &[0, 8], "Tanh"), states("last_hidden_state")],
            &Task::Embedding,
            "last_hidden_state",
        );
        chosen(vec![port("1235", ElementType::F32, &[0, 8], "Tanh"), states("1234")], &Task::Embedding, "1234");
        chosen(vec![port("pooler_output", ElementType::F32, &[0, 8], "Tanh")], &Task::Embedding, "pooler_output");
    }

    #[test]
    fn a_sentence_embedding_comes_before_token_states() {
        let outputs = vec![
            port("token_embeddings", ElementType::F16, &[0, 0, 8], ""),
            port("sentence_embedding", ElementType::F16, &[0, 8], "Div"),
        ];
        chosen(outputs, &Task::Embedding, "sentence_embedding");
    }

    #[test]
    fn logits_are_told_by_rank_and_width() {
        let outputs = || {
            vec![
                port("hidden", ElementType::F32, &[0, 0, 768], ""),
                port("tags", ElementType::F32, &[0, 0, 5], "Add"),
                port("label", ElementType::I64, &[0], "ArgMax"),
                port("probabilities", ElementType::F32, &[0, 3], "Softmax"),
                port("logits", ElementType::F32, &[0, 3], "Gemm"),
            ]
        };
        chosen(outputs(), &Task::SequenceClassification { labels: labels(3), problem: Problem::SingleLabel }, "logits");
        chosen(outputs(), &Task::TokenClassification { labels: labels(5) }, "tags");
        let score = vec![port("score", ElementType::F32, &[0], "Squeeze")];
        chosen(score, &Task::SequenceClassification { labels: labels(1), problem: Problem::SingleLabel }, "score");
        chosen(vec![port("logits", ElementType::F32, &[0, 0, VOCAB], "Add")], &Task::SparseEmbedding, "logits");
    }

    #[test]
    fn a_refusal_lists_what_there_is() {
        let signature = graph(vec![port("logits", ElementType::F32, &[0, 2], "Gemm")]);
        let task = Task::SequenceClassification { labels: labels(3), problem: Problem::SingleLabel };
        let message = choose(&signature, &task, VOCAB, Path::new("m.onnx")).unwrap_err().to_string();
        assert!(message.contains("[batch, 3]") && message.contains("\"logits\" (F32 [?, 2])"), "{message}");
        let signature = graph(vec![port("p", ElementType::F32, &[0, 3], "Softmax")]);
        let message = choose(&signature, &task, VOCAB, Path::new("m.onnx")).unwrap_err().to_string();
        assert!(message.contains("no logits"), "{message}");
    }

    #[test]
    fn the_task_is_guessed_from_named_outputs() {
        let guess = |p| guess_task(&graph(vec![p]), VOCAB);
        assert_eq!(guess(port("last_hidden_state", ElementType::F32, &[0, 0, 384], "")), Some(Task::Embedding));
        assert_eq!(guess(port("logits", ElementType::F32, &[0, 0, VOCAB], "")), Some(Task::SparseEmbedding));
        assert_eq!(guess(port("logits", ElementType::F32, &[0, 0, 2], "")).unwrap().labels(), ["LABEL_0", "LABEL_1"]);
        assert!(matches!(
            guess(port("logits", ElementType::F32, &[0, 1], "")),
            Some(Task::SequenceClassification { .. })
        ));
        assert_eq!(guess(port("logits", ElementType::F32, &[0, 0, 0], "")), None);
        assert_eq!(guess(port("ids", ElementType::I64, &[0, 0], "")), None);
    }
}
