//! A model as its files describe it, before any device is touched.
//!
//! Safetensors of a known family take the native path; anything else with an
//! ONNX export takes the generic one.

use std::path::{Path, PathBuf};

use crate::{
    device::{Device, Precision},
    error::LoadError,
    folder::{config::Config, revision, sentence::Sentence, weights::Weights},
    generic::{self, GenericModel},
    item::EmbedSpec,
    native::{self, NativeModel},
    runtime::Runtime,
    task::{Pooling, Task},
    tokenize::Tokenizer,
};

/// What a caller may set when opening a model.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The loaded ONNX Runtime library; `None` finds it (see [`Runtime::find`]).
    pub runtime: Option<Runtime>,
    /// Threads ONNX Runtime may use inside one run; `None` means one a core.
    pub threads: Option<usize>,
    /// Longest sequence in tokens instead of the folder's, up to the positions the model has.
    pub max_length: Option<usize>,
    /// Pooling instead of the folder's.
    pub pooling: Option<Pooling>,
    /// Take the folder's ONNX export even where the native path would serve it.
    pub prefer_onnx: bool,
    /// Device of [`crate::Executor::new`].
    pub device: Device,
    /// Number format on the device; `None` is f16 on GPUs and f32 on processors, which have no other.
    pub precision: Option<Precision>,
    /// What only GPUs have.
    pub cuda: CudaOptions,
    /// Keep a profile of every run, for [`crate::Executor::profile`], in files of this prefix.
    pub profile: Option<PathBuf>,
}

/// How a GPU is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaOptions {
    /// Most bytes of device memory for a session's arena; `None` is a share of what is free at load
    /// ([`crate::DEFAULT_SHARE_TENTHS`]).
    pub memory_limit: Option<u64>,
    /// Devices of all sessions there are to be of the model, each as often as it has one; they divide that share. None means
    /// one session a device.
    pub devices: Vec<Device>,
    /// Small batches by CUDA graphs (see [`GraphFacts`](crate::GraphFacts)).
    pub graphs: bool,
    /// Models of the generic path: inputs and output bound, token states pooled on the device.
    pub bind: bool,
    /// Every batch's numbers go up and down through page-locked memory, on a stream of ours.
    pub pinned: bool,
    /// Attention kernels of native models, as the bits of ONNX Runtime's `sdpa_kernel`; 0 leaves it to ONNX Runtime.
    pub attention: u32,
    /// How the GELU of models that were trained with the exact one is computed in f16.
    pub gelu: Gelu,
    /// Run each f16 model once on the processor at load, to round its weights by what its activations are like.
    pub calibrate: bool,
}

/// How GELU is computed in f16 on a GPU. Models trained with the tanh form have it inside the product always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gelu {
    /// By the error function, after the product.
    Exact,
    /// In its tanh form inside the product, with the mean difference put back by the next bias.
    #[default]
    Fused,
}

impl Gelu {
    /// Its name, as in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Gelu::Exact => "exact",
            Gelu::Fused => "fused",
        }
    }
}

impl std::str::FromStr for Gelu {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Gelu::Exact, Gelu::Fused]
            .into_iter()
            .find(|g| g.name() == text)
            .ok_or_else(|| format!("{text:?} is no way to compute GELU; exact and fused are"))
    }
}

impl Default for CudaOptions {
    fn default() -> Self {
        Self {
            memory_limit: None,
            devices: Vec::new(),
            graphs: DEFAULT_GRAPHS,
            bind: DEFAULT_BIND,
            pinned: DEFAULT_PINNED,
            attention: DEFAULT_ATTENTION,
            gelu: Gelu::default(),
            calibrate: DEFAULT_CALIBRATE,
        }
    }
}

/// CUDA graphs halve the time of a small batch: launches, not kernels, are what it waits for.
pub const DEFAULT_GRAPHS: bool = true;

/// Token states of a batch are a hundred megabytes; pooled on the device a few hundred kilobytes come back.
pub const DEFAULT_BIND: bool = true;

/// Off until measured to pay: a batch's numbers are a few hundred kilobytes.
pub const DEFAULT_PINNED: bool = false;

/// Flash (1), memory efficient (2) and plain (16) attention. Naming any makes ONNX Runtime take flash attention at every
/// length, which is 3 to 10% faster; left to itself it waits for 513 tokens. TensorRT's kernels (4, 32) are far slower here, but
/// not for padded graphs, which are therefore left alone.
pub const DEFAULT_ATTENTION: u32 = 1 | 2 | 16;

/// Seconds at load, more for larger models; without it f16 leaves the bounds of docs/gpu.md for some models.
pub const DEFAULT_CALIBRATE: bool = true;

impl CudaOptions {
    /// Sessions that are to run side by side on `device`, at least one.
    pub(crate) fn sessions_on(&self, device: Device) -> u64 {
        self.devices.iter().filter(|&&other| other == device).fold(0, |n, _| n + 1).max(1)
    }
}

impl LoadOptions {
    /// The library to run on: the one given, else the one found.
    pub(crate) fn runtime(&self) -> Result<Runtime, LoadError> {
        self.runtime.clone().map_or_else(|| Runtime::find_for(None, self.device), Ok)
    }

    /// Number format of a native model on `device`.
    pub(crate) fn precision_on(&self, device: Device) -> Precision {
        match device {
            Device::Cpu => Precision::F32,
            Device::Cuda(_) => self.precision.unwrap_or(Precision::F16),
        }
    }
}

/// What is known of a model.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// `model_type` of its config.
    pub model_type: String,
    /// First of its `architectures`.
    pub architecture: String,
    /// What it was made for.
    pub task: Task,
    /// Longest sequence in tokens, specials included.
    pub max_length: usize,
    /// Entries in its vocabulary.
    pub vocab_size: usize,
    /// Numbers in its vectors; 0 where it makes none.
    pub dimensions: usize,
    /// How its vectors are finished by default.
    pub embed: EmbedSpec,
    /// Prompts the folder names, in name order.
    pub prompts: Vec<(String, String)>,
    /// The prompt used when a caller names none.
    pub default_prompt: Option<String>,
    /// Weights of its layers, embedding tables not counted; `None` for an export, whose graph does not say.
    pub layer_parameters: Option<u64>,
    /// Digest of the files it is served from (hex).
    pub revision: String,
    /// `native` or `onnx`.
    pub engine: &'static str,
    /// Number format of the weights on the device.
    pub precision: &'static str,
    /// Device it runs on.
    pub device: String,
}

/// A model folder, read and checked. Shared between threads; sessions are made
/// from it by [`crate::Executor::new`].
#[derive(Debug)]
pub struct Model {
    info: ModelInfo,
    tokenizer: Tokenizer,
    source: Source,
    options: LoadOptions,
}

/// Which path serves a folder.
#[derive(Debug)]
pub(crate) enum Source {
    Native(NativeModel),
    Generic(GenericModel),
    #[cfg(feature = "timed")]
    Timed(crate::timed::Spec),
}

impl Model {
    /// Reads a model folder as Hugging Face lays it out.
    ///
    /// # Errors
    /// When the folder holds nothing that can be served, or a file of it is
    /// missing, broken or at odds with another. The error names the file.
    pub fn open(folder: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        #[cfg(feature = "timed")]
        if let Some(spec) = crate::timed::asked(folder) {
            let spec = spec?;
            let (info, tokenizer) = crate::timed::describe(folder, &spec, options)?;
            return Ok(Self { info, tokenizer, source: Source::Timed(spec), options: options.clone() });
        }
        if !folder.is_dir() {
            return Err(LoadError::unsupported(folder, "there is no such model folder"));
        }
        let sentence = Sentence::read(folder)?;
        let config_there = folder.join("config.json").is_file();
        let has_weights = Weights::are_in(folder);
        let onnx = generic::find(folder)?;
        let native = has_weights && !(options.prefer_onnx && onnx.is_some());
        let config = if config_there || (native && onnx.is_none()) { Config::read(folder)? } else { Config::default() };
        let said = task(folder, &config, &sentence)?;
        let pooling = options.pooling.unwrap_or(sentence.pooling);

        let (source, task, longest, vocab, dimensions) = if native && (native::serves(&config) || onnx.is_none()) {
            let task = said.ok_or_else(|| {
                LoadError::unsupported(
                    &folder.join("config.json"),
                    format!(
                        "architecture {:?} is not served; …Model, …ForSequenceClassification, …ForTokenClassification and …ForMaskedLM are",
                        config.architecture()
                    ),
                )
            })?;
            let m = NativeModel::open(folder, &config, &sentence, task.clone(), pooling)?;
            let (longest, vocab, dimensions) = (m.longest(), m.vocab(), m.dimensions());
            (Source::Native(m), task, longest, vocab, dimensions)
        } else if let Some(path) = onnx {
            let m = GenericModel::open(&path, folder, &config, &sentence, said, options)?;
            let (task, longest, vocab, dimensions) = (m.task().clone(), m.longest(), m.vocab(), m.dimensions());
            (Source::Generic(m), task, longest, vocab, dimensions)
        } else {
            return Err(LoadError::unsupported(
                folder,
                "neither safetensors (model.safetensors, model.safetensors.index.json) nor an ONNX export (model.onnx, onnx/model.onnx) is there",
            ));
        };
        let max_length = longest_input(folder, options, &sentence, longest)?;
        let segments = match &source {
            Source::Native(m) => m.segments(),
            // Two is what exports of BERT's kin have; ids beyond would be refused by the graph.
            Source::Generic(_) => config.type_vocab_size.unwrap_or(2),
            #[cfg(feature = "timed")]
            Source::Timed(_) => 1,
        };
        let tokenizer = Tokenizer::load(folder, max_length, vocab)?.with_type_vocab(segments);
        let info = ModelInfo {
            model_type: config.model_type.clone(),
            architecture: config.architecture().to_owned(),
            dimensions: if task == Task::Embedding { dimensions } else { 0 },
            task,
            max_length,
            vocab_size: vocab,
            embed: EmbedSpec { pooling, normalize: sentence.normalize, dimensions: None },
            default_prompt: sentence.default_prompt,
            prompts: sentence.prompts,
            layer_parameters: match &source {
                Source::Native(m) => Some(m.layer_parameters()),
                Source::Generic(_) => None,
                #[cfg(feature = "timed")]
                Source::Timed(_) => None,
            },
            revision: revision::digest(folder)?,
            engine: match source {
                Source::Native(_) => "native",
                Source::Generic(_) => "onnx",
                #[cfg(feature = "timed")]
                Source::Timed(_) => "timed",
            },
            precision: match source {
                Source::Native(_) => options.precision_on(options.device).name(),
                Source::Generic(_) => "as exported",
                #[cfg(feature = "timed")]
                Source::Timed(_) => "none",
            },
            device: options.device.to_string(),
        };
        Ok(Self { info, tokenizer, source, options: options.clone() })
    }

    /// What is known of it.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Its tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) fn options(&self) -> &LoadOptions {
        &self.options
    }
}

/// The task the files say. sentence-transformers' files outrank the architecture:
/// a masked-LM checkpoint with a pooling module is an embedding model.
fn task(folder: &Path, config: &Config, sentence: &Sentence) -> Result<Option<Task>, LoadError> {
    let said = config.task(folder)?;
    Ok(match said {
        Some(Task::SequenceClassification { .. } | Task::TokenClassification { .. }) => said,
        _ if sentence.is_sparse => Some(Task::SparseEmbedding),
        _ if sentence.is_sentence_model => Some(Task::Embedding),
        said => said,
    })
}

/// min(what the files intend, positions); an option may go up to the positions.
fn longest_input(
    folder: &Path,
    options: &LoadOptions,
    sentence: &Sentence,
    positions: usize,
) -> Result<usize, LoadError> {
    match options.max_length {
        Some(n) if n == 0 || n > positions => Err(LoadError::invalid(
            &folder.join("config.json"),
            format!("max_length {n} is asked for, the model has positions for 1 to {positions}"),
        )),
        Some(n) => Ok(n),
        None => Ok(sentence.max_length.map_or(positions, |n| n.min(positions))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_counted_by_device() {
        let devices = [0, 1, 0].map(Device::Cuda).to_vec();
        let options = CudaOptions { devices, ..CudaOptions::default() };
        assert_eq!([0, 1, 2].map(|n| options.sessions_on(Device::Cuda(n))), [2, 1, 1]);
        assert_eq!(CudaOptions::default().sessions_on(Device::Cuda(0)), 1);
    }
}
