//! A folder with all that serves it, and what is known of the model then.

use std::sync::Arc;

use crate::{
    device::Precision,
    error::LoadError,
    folder::{Folder, Routes, revision},
    generic::GenericModel,
    info::ModelInfo,
    item::EmbedSpec,
    lookup::Lookup,
    native::NativeModel,
    options::LoadOptions,
    task::Task,
    tokenize::{Tokenizer, special_text},
};

/// What serves a folder.
#[derive(Debug)]
pub(crate) enum ServedBy {
    Native(Box<NativeModel>),
    Generic(Box<GenericModel>),
    /// No encoder: tables alone.
    Lookup,
    #[cfg(feature = "timed")]
    Timed(crate::timed::Spec),
}

/// A folder with all that serves it.
pub(crate) struct Opened {
    pub(crate) folder: Folder,
    pub(crate) routes: Arc<Routes>,
    pub(crate) task: Task,
    pub(crate) served_by: ServedBy,
    pub(crate) lookup: Option<Arc<Lookup>>,
    pub(crate) tokenizer: Tokenizer,
    /// Longest sequence in tokens.
    pub(crate) max_length: usize,
    /// Rows of the embedding table.
    pub(super) vocab: usize,
    /// Numbers in a vector.
    pub(super) dimensions: usize,
}

impl Opened {
    /// Folders that it is served from beside its own.
    fn places(&self) -> Vec<std::path::PathBuf> {
        let routes = self.routes.all().iter().flat_map(|route| route.folders.iter().cloned());
        routes.chain([self.folder.encoder.clone(), self.folder.tokenizer_home.clone()]).collect()
    }

    /// Text of the tokenizer's unknown token, where it has one.
    pub(crate) fn unknown_token(&self) -> Option<&str> {
        special_text(&self.folder.tokenizer, "unk_token").filter(|token| self.tokenizer.token_id(token).is_some())
    }

    /// What is known of the model.
    pub(crate) fn info(&self, options: &LoadOptions) -> Result<ModelInfo, LoadError> {
        let (folder, main) = (&self.folder, self.routes.main());
        let has_vectors = matches!(self.task, Task::Embedding | Task::LateInteraction);
        Ok(ModelInfo {
            model_type: folder.config.model_type.clone(),
            architecture: folder.config.architecture().to_owned(),
            dimensions: if has_vectors { self.dimensions } else { 0 },
            task: self.task.clone(),
            max_length: self.max_length,
            chat_tokens: if self.tokenizer.reads_chat() { self.tokenizer.frame_tokens() } else { 0 },
            vocab_size: self.vocab,
            embed: EmbedSpec::default(),
            pooling: main.chain.own_pooling(),
            normalize: main.chain.ends_normalized(),
            activation: folder.activation.clone(),
            late_similarity: folder.late.as_ref().map(|late| late.similarity),
            prompts: folder.prompts.clone(),
            default_prompt: folder.default_prompt.clone(),
            experimental: matches!(&self.served_by, ServedBy::Native(m) if m.is_experimental()),
            layer_parameters: match &self.served_by {
                ServedBy::Native(m) => Some(m.layer_parameters()),
                _ => None,
            },
            doubling_length: match &self.served_by {
                ServedBy::Native(m) => m.doubling_length(options.device),
                _ => 0,
            },
            revision: revision::digest(&folder.root, &self.places())?,
            similarity: folder.similarity.clone().filter(|_| has_vectors || self.task == Task::SparseEmbedding),
            role_lengths: folder.late.as_ref().map_or([None; 2], |late| late.lengths),
            reads_roles: self.routes.all().len() > 1 || folder.late.is_some(),
            gives_tokens: match &self.served_by {
                ServedBy::Generic(m) => m.gives_tokens(),
                _ => true,
            },
            engine: match &self.served_by {
                ServedBy::Native(_) => "native",
                ServedBy::Generic(_) => "onnx",
                ServedBy::Lookup => "static",
                #[cfg(feature = "timed")]
                ServedBy::Timed(_) => "timed",
            },
            precision: match &self.served_by {
                ServedBy::Native(_) => precision(folder, options)?.name(),
                ServedBy::Generic(_) => "onnx",
                ServedBy::Lookup => "f32",
                #[cfg(feature = "timed")]
                ServedBy::Timed(_) => "none",
            },
            device: match &self.served_by {
                ServedBy::Lookup => "cpu".to_owned(),
                _ => options.devices().to_string(),
            },
        })
    }
}

/// Number format of a native model, or why the device does not have it.
fn precision(folder: &Folder, options: &LoadOptions) -> Result<Precision, LoadError> {
    let precision = options.precision_on(options.device);
    match precision.refused_on(options.device) {
        Some(why) => Err(LoadError::unsupported(&folder.root, format!("precision {}: {why}", precision.name()))),
        None => Ok(precision),
    }
}
