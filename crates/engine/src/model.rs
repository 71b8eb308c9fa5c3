//! A model as its files describe it, before any device is touched.
//!
//! Safetensors of a known family take the native path; anything else with an
//! ONNX export takes the generic one.

use std::path::Path;

use crate::{
    error::LoadError,
    folder::{config::Config, revision, sentence::Sentence, weights::Weights},
    generic::{self, GenericModel},
    info::ModelInfo,
    item::EmbedSpec,
    native::{self, NativeModel},
    options::LoadOptions,
    task::Task,
    tokenize::Tokenizer,
};

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
