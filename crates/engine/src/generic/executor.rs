//! A session over an ONNX export, and the padded batches that go through it.
//!
//! Each item gets exactly one answer, in its place. A batch that the session
//! refuses is halved until the item that spoils it stands alone and fails alone.

use std::{fmt, thread::available_parallelism};

use ort::{
    logging::LogLevel,
    session::{HasSelectedOutputs, OutputSelector, RunOptions, Session, builder::GraphOptimizationLevel},
};

use super::{batches::plan, model::GenericModel, read::Read};
use crate::{
    error::LoadError,
    item::{ItemFault, Output, WorkItem},
    model::LoadOptions,
};

type Answer = Result<Output, ItemFault>;

/// Runs one ONNX export on the CPU.
pub(crate) struct GenericExecutor {
    model: GenericModel,
    session: Session,
    /// Names the one output that is read, so that no other is copied out.
    only_output: RunOptions<HasSelectedOutputs>,
}

impl fmt::Debug for GenericExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RunOptions with selected outputs has no Debug.
        f.debug_struct("GenericExecutor").field("model", &self.model).finish_non_exhaustive()
    }
}

impl GenericExecutor {
    /// Loads the export into a session of its own.
    ///
    /// # Errors
    /// When ONNX Runtime cannot be found or refuses the file.
    pub(crate) fn new(model: &GenericModel, options: &LoadOptions) -> Result<Self, LoadError> {
        let runtime = options.runtime()?;
        let threads = options.threads.unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
        let load = || -> ort::Result<_> {
            let session = Session::builder(runtime.environment())?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_intra_threads(threads)?
                // A pattern is kept for every shape ever seen, and shapes here hardly repeat.
                .with_memory_pattern(false)?
                .commit_from_file(&model.path)?;
            let mut only_output = RunOptions::new()?.with_outputs(OutputSelector::no_default().with(&model.output));
            // A failed run comes back as an error and is logged here; ONNX Runtime need not print it too.
            only_output.set_log_level(LogLevel::Fatal)?;
            Ok((session, only_output))
        };
        let (session, only_output) = load().map_err(LoadError::session(&model.path))?;
        Ok(Self { model: model.clone(), session, only_output })
    }

    /// Runs items of any lengths; one answer an item, in order.
    pub(crate) fn run(&mut self, items: &[&WorkItem]) -> Vec<Answer> {
        let mut answers: Vec<Option<Answer>> = items.iter().map(|i| self.model.check(i).err().map(Err)).collect();
        let ready: Vec<usize> = (0..items.len()).filter(|&i| answers[i].is_none()).collect();
        let lengths: Vec<usize> =
            ready.iter().map(|&i| self.model.inputs.length.unwrap_or(items[i].sequence.len())).collect();
        for batch in plan(&lengths, self.model.limits) {
            let places: Vec<usize> = batch.items.iter().map(|&at| ready[at]).collect();
            self.run_batch(items, &places, &mut answers);
        }
        let unanswered = || Err(ItemFault::Run("the item was left out of every batch".to_owned()));
        answers.into_iter().map(|a| a.unwrap_or_else(unanswered)).collect()
    }

    /// Runs the items at `places`; halves them where the session refuses.
    fn run_batch(&mut self, items: &[&WorkItem], places: &[usize], answers: &mut [Option<Answer>]) {
        let batch: Vec<&WorkItem> = places.iter().map(|&p| items[p]).collect();
        match self.run_once(&batch) {
            Ok(given) => {
                for (&place, answer) in places.iter().zip(given) {
                    answers[place] = Some(answer);
                }
            }
            Err(e) if places.len() > 1 => {
                tracing::warn!(items = places.len(), error = %e, "a batch failed; halving it");
                let (left, right) = places.split_at(places.len() / 2);
                self.run_batch(items, left, answers);
                self.run_batch(items, right, answers);
            }
            Err(e) => {
                for &place in places {
                    answers[place] = Some(Err(ItemFault::Run(e.to_string())));
                }
            }
        }
    }

    fn run_once(&mut self, items: &[&WorkItem]) -> ort::Result<Vec<Answer>> {
        let sequences: Vec<_> = items.iter().map(|i| &i.sequence).collect();
        let shape = self.model.shape_of(&sequences);
        let inputs = self.model.tensors(&sequences, shape)?;
        let outputs = self.session.run_with_options(inputs, &self.only_output)?;
        let read = Read::of(&outputs[self.model.output.as_str()])?;
        Ok(read.answers(&self.model, items, shape))
    }
}
