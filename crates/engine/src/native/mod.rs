//! The native path: weights from safetensors, a graph written here, sequences
//! packed end to end. No token is ever padding.

mod calibration;
mod family;
mod graph;
mod kernel;
mod run;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

pub use family::native_model_types;
pub use run::CapturedGraphs;
pub(crate) use run::{NativeBatch, NativeExecutor, NativeHost, NativeRaw, commit};

use self::{
    calibration::{Calibration, calibrate},
    family::{Encoder, Family},
};
use crate::{
    error::LoadError,
    folder::{config::Config, sentence::Sentence, weights::Weights},
    options::LoadOptions,
    post::Dense,
    task::{Pooling, Task},
};

/// Whether a model type is one the native path knows.
pub(crate) fn serves(config: &Config) -> bool {
    Family::of(&config.model_type).is_some()
}

/// A folder the native path serves, read but on no device yet.
#[derive(Debug)]
pub(crate) struct NativeModel {
    folder: PathBuf,
    encoder: Encoder,
    weights: Weights,
    task: Task,
    dense: Vec<Dense>,
    /// How its states are pooled where a caller says nothing.
    pooling: Pooling,
    /// What its activations are like, once a session wanted to know.
    calibration: Mutex<Option<Arc<Calibration>>>,
}

impl NativeModel {
    /// Reads dimensions and headers; tensors are read when an executor is made.
    pub(crate) fn open(
        folder: &Path,
        config: &Config,
        sentence: &Sentence,
        task: Task,
        pooling: Pooling,
    ) -> Result<Self, LoadError> {
        let weights = Weights::open(folder)?;
        let encoder = Encoder::read(folder, config, &weights)?;
        if let Some(first) = sentence.dense.first()
            && first.inputs != encoder.hidden
        {
            return Err(LoadError::invalid(
                &folder.join("modules.json"),
                format!("the Dense module takes {} numbers, the model makes {}", first.inputs, encoder.hidden),
            ));
        }
        Ok(Self {
            folder: folder.to_owned(),
            encoder,
            weights,
            task,
            dense: sentence.dense.clone(),
            pooling,
            calibration: Mutex::default(),
        })
    }

    /// What its activations are like: run once, for all sessions on all devices. Others wait for the first.
    fn calibration(&self, options: &LoadOptions) -> Result<Arc<Calibration>, LoadError> {
        let mut known = self.calibration.lock();
        if let Some(known) = &*known {
            return Ok(Arc::clone(known));
        }
        Ok(Arc::clone(known.insert(Arc::new(calibrate(self, options)?))))
    }

    /// Tokens in the longest sequence its positions allow.
    pub(crate) fn longest(&self) -> usize {
        self.encoder.longest()
    }

    /// Weights of its layers.
    pub(crate) fn layer_parameters(&self) -> u64 {
        self.encoder.layer_parameters()
    }

    /// Rows of its embedding table.
    pub(crate) fn vocab(&self) -> usize {
        self.encoder.vocab
    }

    /// Rows of its segment table, 0 where it has none.
    pub(crate) fn segments(&self) -> usize {
        self.encoder.segments
    }

    /// Numbers in one of its vectors.
    pub(crate) fn dimensions(&self) -> usize {
        self.dense.last().map_or(self.encoder.hidden, |d| d.outputs)
    }
}
