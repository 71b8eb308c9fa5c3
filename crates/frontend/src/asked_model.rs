//! A model as the frontend sees it.

use std::fmt::Debug;

use sortie_proto::v1::LoadReport;

/// A model that a request asked: what log lines, metrics, spans and trailers say of it.
pub trait AskedModel: Debug + Send + Sync + 'static {
    /// Its name, as callers say it.
    fn name(&self) -> &str;

    /// Its revision.
    fn revision(&self) -> &str;

    /// Its load now; called as an answer leaves, and must not wait.
    fn load_report(&self) -> LoadReport;
}
