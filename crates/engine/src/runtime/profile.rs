//! Where a session's nodes ran and how long they took, out of ONNX Runtime's own profile:
//! a JSON list of events, of which those of category `Node` name operator and provider.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde::Deserialize;

use crate::error::LoadError;

/// All nodes of one operator on one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTime {
    /// The operator.
    pub operator: String,
    /// ONNX Runtime's provider that ran it, for example `CUDAExecutionProvider`.
    pub provider: String,
    /// How often.
    pub runs: u64,
    /// For how long in all. On a GPU the host's side of it: kernels run on past it.
    pub time: Duration,
}

#[derive(Deserialize)]
struct TraceEvent {
    #[serde(default)]
    cat: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    dur: u64,
    #[serde(default)]
    args: TraceArgs,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TraceArgs {
    op_name: String,
    provider: String,
}

/// Ends the name of the event that covers a node's kernel.
const KERNEL: &str = "_kernel_time";

/// Reads a profile; longest first.
pub(crate) fn read(path: &Path) -> Result<Vec<NodeTime>, LoadError> {
    let text = std::fs::read_to_string(path).map_err(LoadError::io(path))?;
    parse(&text).map_err(|e| LoadError::invalid(path, e.to_string()))
}

fn parse(text: &str) -> Result<Vec<NodeTime>, serde_json::Error> {
    let events: Vec<TraceEvent> = serde_json::from_str(text)?;
    let mut sums: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for e in events.into_iter().filter(|e| e.cat == "Node" && e.name.ends_with(KERNEL)) {
        let sum = sums.entry((e.args.op_name, e.args.provider)).or_default();
        sum.0 += 1;
        sum.1 += e.dur;
    }
    let mut all: Vec<NodeTime> = sums
        .into_iter()
        .map(|((operator, provider), (runs, micros))| NodeTime {
            operator,
            provider,
            runs,
            time: Duration::from_micros(micros),
        })
        .collect();
    all.sort_by_key(|n| std::cmp::Reverse(n.time));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_summed_by_operator_and_provider() {
        let text = r#"[
            {"cat":"Session","name":"model_loading","dur":9,"args":{}},
            {"cat":"Node","name":"a_kernel_time","dur":5,"args":{"op_name":"MatMul","provider":"CUDAExecutionProvider"}},
            {"cat":"Node","name":"b_kernel_time","dur":7,"args":{"op_name":"MatMul","provider":"CUDAExecutionProvider"}},
            {"cat":"Node","name":"b_fence_before","dur":99,"args":{"op_name":"MatMul"}},
            {"cat":"Node","name":"c_kernel_time","dur":20,"args":{"op_name":"Gather","provider":"CPUExecutionProvider"}}
        ]"#;
        let all = parse(text).unwrap();
        let shown: Vec<_> = all.iter().map(|n| (n.operator.as_str(), n.runs, n.time.as_micros())).collect();
        assert_eq!(shown, [("Gather", 1, 20), ("MatMul", 2, 12)]);
        assert!(parse("{}").is_err());
    }
}
