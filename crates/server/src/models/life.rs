//! Models that come and go while others serve.
//!
//! A new model is loaded and warmed up beside the ones that serve; then the set
//! of models is replaced whole. Requests that found the old model keep it until
//! they are answered: nothing is refused for a swap. When the last of them is
//! done the old model's scheduler ends and its memory is given back.

use std::sync::Arc;

use super::{
    error::StartupError,
    loading::load,
    registry::{ModelMap, Registry},
    served::Served,
};
use crate::config::ModelSpec;

/// Why a model did not come or go.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// A model of that name is served already.
    #[error("a model named {0:?} is served already; swap it instead")]
    Served(String),
    /// No model of that name is served.
    #[error("no model named {0:?} is served")]
    Unknown(String),
    /// The process is about to stop.
    #[error("the server is draining")]
    Draining,
    /// The new model does not load; what was served still is.
    #[error(transparent)]
    Load(#[from] StartupError),
}

/// A model that came, and the one it came for.
#[derive(Debug)]
pub(crate) struct ModelChange {
    /// The model that serves now.
    pub(crate) new: Arc<Served>,
    /// The one that did, until its last request is answered.
    pub(crate) old: Option<Arc<Served>>,
}

impl Registry {
    /// Loads a model of a new name.
    pub(crate) async fn add(&self, spec: &ModelSpec) -> Result<ModelChange, ChangeError> {
        let _alone = self.changing.lock().await;
        if self.by_name.load().contains_key(&spec.name) {
            return Err(ChangeError::Served(spec.name.clone()));
        }
        self.load_and_publish(spec).await
    }

    /// Loads a model and puts it in the place of the one of its name.
    pub(crate) async fn swap(&self, spec: &ModelSpec) -> Result<ModelChange, ChangeError> {
        let _alone = self.changing.lock().await;
        if !self.by_name.load().contains_key(&spec.name) {
            return Err(ChangeError::Unknown(spec.name.clone()));
        }
        self.load_and_publish(spec).await
    }

    /// Serves a model no longer; requests that found it are still answered.
    pub(crate) async fn remove(&self, name: &str) -> Result<Arc<Served>, ChangeError> {
        let _alone = self.changing.lock().await;
        self.replace(name, None)?.ok_or_else(|| ChangeError::Unknown(name.to_owned()))
    }

    /// Callers hold `changing`.
    async fn load_and_publish(&self, spec: &ModelSpec) -> Result<ModelChange, ChangeError> {
        if self.draining() {
            return Err(ChangeError::Draining);
        }
        let new = Arc::new(load(&self.config, spec, &self.shared).await?);
        let old = self.replace(&spec.name, Some(Arc::clone(&new)))?;
        Ok(ModelChange { new, old })
    }

    /// Callers hold `changing`, so nothing is lost between reading the set and writing it.
    fn replace(&self, name: &str, new: Option<Arc<Served>>) -> Result<Option<Arc<Served>>, ChangeError> {
        if self.draining() {
            return Err(ChangeError::Draining);
        }
        let mut models = ModelMap::clone(&self.by_name.load());
        let old = match new {
            Some(new) => models.insert(name.to_owned(), new),
            None => models.remove(name),
        };
        self.by_name.store(Arc::new(models));
        Ok(old)
    }
}
