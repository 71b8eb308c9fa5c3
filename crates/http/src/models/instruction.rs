//! Which rerankers read an instruction.

use sortie_proto::v1::{ModelInfo, Task};

/// How the architecture of a causal language model ends: as a reranker it reads pairs in a chat template, whose system
/// message is the instruction, and in the contract that is the prompt.
const CAUSAL: &str = "ForCausalLM";

/// Whether an instruction has its place in front of this model's pairs. In front of any other query it would be text to
/// search for.
pub(crate) fn takes_instruction(model: &ModelInfo) -> bool {
    model.task() == Task::Rerank && model.architecture.ends_with(CAUSAL)
}
