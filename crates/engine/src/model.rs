//! A model as its files describe it, before any device is touched.
//!
//! Safetensors of a known family take the native path; anything else with an
//! ONNX export takes the generic one.

use std::{path::Path, sync::Arc};

use crate::{
    error::LoadError,
    info::ModelInfo,
    lookup::Lookup,
    open::{self, ServedBy},
    options::LoadOptions,
    tokenize::Tokenizer,
};

/// A model folder, read and checked. Shared between threads; sessions are made
/// from it by [`crate::Executor::new`].
#[derive(Debug)]
pub struct Model {
    info: ModelInfo,
    tokenizer: Tokenizer,
    served_by: ServedBy,
    lookup: Option<Arc<Lookup>>,
    options: LoadOptions,
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
            return Ok(Self {
                info,
                tokenizer,
                served_by: ServedBy::Timed(spec),
                lookup: None,
                options: options.clone(),
            });
        }
        let opened = open::read(folder, options)?;
        let info = opened.info(options)?;
        Ok(Self {
            info,
            tokenizer: opened.tokenizer,
            served_by: opened.served_by,
            lookup: opened.lookup,
            options: options.clone(),
        })
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

    pub(crate) fn served_by(&self) -> &ServedBy {
        &self.served_by
    }

    /// The tables of routes without an encoder.
    pub(crate) fn lookup(&self) -> Option<Arc<Lookup>> {
        self.lookup.clone()
    }

    pub(crate) fn options(&self) -> &LoadOptions {
        &self.options
    }
}
