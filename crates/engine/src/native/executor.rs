//! Runs packed batches of a native model on the CPU.

use std::{ops::Range, path::PathBuf, sync::Arc};

use ort::{
    session::{Session, builder::GraphOptimizationLevel},
    value::{DynValue, Tensor},
};
use parking_lot::Mutex;
use prost::Message;

use super::{
    NativeModel,
    batch::{Bounds, Flat},
    builder::Builder,
    graph::{self, input},
    head::{self, OUTPUT},
    operators,
};
use crate::{
    error::LoadError,
    item::{ItemFault, Output, Want, WorkItem},
    model::LoadOptions,
    post::{self, Dense},
    task::Task,
};

/// Bytes that the (tokens × vocabulary) logits of a masked-LM head may take in one
/// run: they are reduced to a row a sequence at once, but must exist before.
const MAX_SPARSE_BYTES: usize = 256 << 20;

/// Held while a session is made. ONNX Runtime keeps the versions of operator
/// domains in one table a process, and looks before it adds without a lock: two
/// sessions with our operators, made at once, can both find the domain missing.
static REGISTERING: Mutex<()> = Mutex::new(());

/// A session over a graph of ours.
#[derive(Debug)]
pub(crate) struct NativeExecutor {
    session: Session,
    bounds: Bounds,
    first_position: usize,
    /// Names the graph takes beside ids, positions and boundaries.
    has_segments: bool,
    has_first: bool,
    /// Numbers in an output row.
    width: usize,
    task: Task,
    dense: Vec<Dense>,
}

impl NativeExecutor {
    /// Writes the graph, hands the weights over and loads a session.
    pub(crate) fn new(model: &NativeModel, options: &LoadOptions) -> Result<Self, LoadError> {
        let mut b = Builder::default();
        let hidden = graph::encoder(&mut b, &model.encoder, &model.weights)?;
        let width = head::head(&mut b, &model.encoder, &model.weights, &model.task, &hidden)?;
        let (proto, weights) = b.finish();

        let path: &PathBuf = &model.folder;
        let runtime = options.runtime()?;
        let refused = |e: ort::Error| LoadError::Session { path: path.clone(), source: e };
        let mut builder = Session::builder(runtime.environment())
            .map_err(refused)?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(|e| refused(e.into()))?
            .with_operators(operators::domain().map_err(refused)?)
            .map_err(|e| refused(e.into()))?
            // Batches differ in size each time: plans made for one size serve no other.
            .with_memory_pattern(false)
            .map_err(|e| refused(e.into()))?
            // Spinning threads take the cores that tokenizing and other servers need.
            .with_intra_op_spinning(false)
            .map_err(|e| refused(e.into()))?;
        if let Some(threads) = options.threads {
            builder = builder.with_intra_threads(threads).map_err(|e| refused(e.into()))?;
        }
        for w in weights {
            let value: Arc<DynValue> = Arc::new(Tensor::from_array((w.shape, w.data)).map_err(refused)?.into_dyn());
            builder = builder.with_external_initializer(&w.name, value).map_err(|e| refused(e.into()))?;
        }
        let session = {
            let _one_at_a_time = REGISTERING.lock();
            builder.commit_from_memory(&proto.encode_to_vec()).map_err(refused)?
        };
        let takes = |name: &str| session.inputs().iter().any(|i| i.name() == name);
        Ok(Self {
            has_segments: takes(input::SEGMENTS),
            has_first: takes(input::FIRST),
            bounds: Bounds {
                vocab: model.encoder.vocab,
                segments: model.encoder.segments,
                longest: model.encoder.longest(),
            },
            first_position: model.encoder.first_position,
            width,
            task: model.task.clone(),
            dense: model.dense.clone(),
            session,
        })
    }

    /// See [`crate::Executor::run`].
    pub(crate) fn run(&mut self, items: &[&WorkItem]) -> Vec<Result<Output, ItemFault>> {
        let mut answers: Vec<Option<Result<Output, ItemFault>>> =
            items.iter().map(|i| self.refuse(i).map(Err)).collect();
        let ready: Vec<usize> = (0..items.len()).filter(|&i| answers[i].is_none()).collect();
        for group in self.groups(items, &ready) {
            self.run_group(items, &ready[group], &mut answers);
        }
        answers.into_iter().map(|a| a.unwrap_or_else(|| Err(ItemFault::Run("the item was not run".into())))).collect()
    }

    /// Why an item cannot run at all.
    fn refuse(&self, item: &WorkItem) -> Option<ItemFault> {
        let suits = matches!(
            (&self.task, item.want),
            (Task::SequenceClassification { .. }, Want::Logits)
                | (Task::TokenClassification { .. }, Want::TokenLogits)
                | (Task::Embedding, Want::Embedding(_))
                | (Task::SparseEmbedding, Want::Sparse)
        );
        if !suits {
            return Some(ItemFault::WrongWant(item.want.name()));
        }
        self.bounds.check(&item.sequence).err().map(ItemFault::BadSequence)
    }

    /// Cuts work where one run would need too much memory.
    fn groups(&self, items: &[&WorkItem], ready: &[usize]) -> Vec<Range<usize>> {
        let most = match self.task {
            Task::SparseEmbedding => MAX_SPARSE_BYTES / (self.width * size_of::<f32>()).max(1),
            _ => usize::MAX,
        };
        let mut groups = Vec::new();
        let (mut start, mut tokens) = (0, 0);
        for (k, &i) in ready.iter().enumerate() {
            let n = items[i].sequence.len();
            if k > start && tokens + n > most {
                groups.push(start..k);
                (start, tokens) = (k, 0);
            }
            tokens += n;
        }
        if start < ready.len() {
            groups.push(start..ready.len());
        }
        groups
    }

    /// Runs some items as one batch; where it fails, halves find the one at fault.
    fn run_group(&mut self, items: &[&WorkItem], group: &[usize], answers: &mut [Option<Result<Output, ItemFault>>]) {
        let flat = Flat::pack(group.iter().map(|&i| &items[i].sequence), self.first_position);
        let numbers = match self.forward(&flat) {
            Ok(numbers) => numbers,
            Err(e) => {
                let (left, right) = group.split_at(group.len() / 2);
                if left.is_empty() {
                    answers[group[0]] = Some(Err(ItemFault::Run(e.to_string())));
                } else {
                    tracing::warn!(items = group.len(), error = %e, "a batch failed; trying its halves");
                    self.run_group(items, left, answers);
                    self.run_group(items, right, answers);
                }
                return;
            }
        };
        for (k, &i) in group.iter().enumerate() {
            let rows = match items[i].want {
                Want::TokenLogits | Want::Embedding(_) => flat.cumulative[k] as usize..flat.cumulative[k + 1] as usize,
                Want::Logits | Want::Sparse => k..k + 1,
            };
            let part = &numbers[rows.start * self.width..rows.end * self.width];
            answers[i] = Some(self.finish(items[i].want, part));
        }
    }

    /// Turns an item's rows into what it wants.
    fn finish(&self, want: Want, rows: &[f32]) -> Result<Output, ItemFault> {
        Ok(match want {
            Want::Logits => Output::Logits(finite(rows)?),
            Want::TokenLogits => Output::TokenLogits(finite(rows)?),
            Want::Embedding(spec) => Output::Embedding(post::embed(rows, self.width, &spec, &self.dense)?),
            Want::Sparse => Output::Sparse(post::sparse_weights(rows)?),
        })
    }

    fn forward(&mut self, flat: &Flat) -> ort::Result<Vec<f32>> {
        let vector = |v: &[i32]| Tensor::from_array(([v.len()], v.to_vec()));
        let mut inputs = vec![
            (input::IDS, vector(&flat.ids)?),
            (input::POSITIONS, vector(&flat.positions)?),
            (input::CUMULATIVE, vector(&flat.cumulative)?),
        ];
        if self.has_segments {
            inputs.push((input::SEGMENTS, vector(&flat.segments)?));
        }
        if self.has_first {
            inputs.push((input::FIRST, vector(&flat.first)?));
        }
        let outputs = self.session.run(inputs)?;
        let (_, numbers) = outputs[OUTPUT].try_extract_tensor::<f32>()?;
        Ok(numbers.to_vec())
    }
}

fn finite(rows: &[f32]) -> Result<Vec<f32>, ItemFault> {
    post::all_finite(rows)?;
    Ok(rows.to_vec())
}
