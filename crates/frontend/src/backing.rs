//! What stands behind the frontend of a process, as far as the frontend must know it.

use std::{fmt::Debug, sync::Arc};

use sortie_proto::v1::LoadReport;

use crate::{asked_model::AskedModel, context::RequestContext, errors::ServeError};

/// What answers requests: models of this process, or a fleet.
pub trait Backing: Debug + Send + Sync + 'static {
    /// Refuses what would be refused whatever is in the message, before it is read. It is asked for RPCs whose work
    /// waits in a queue.
    ///
    /// # Errors
    /// The refusal.
    fn admissible(&self, context: &RequestContext) -> Result<(), ServeError>;

    /// The model whose load goes into the trailers of requests that named none.
    fn only_model(&self) -> Option<Arc<dyn AskedModel>>;

    /// The load of every model, for balancers, who ask nothing of a single one; called as an answer leaves, and must not
    /// wait.
    fn load_reports(&self) -> Vec<LoadReport>;

    /// A stop was asked for: reports say so from now on, work is still taken.
    fn announce_drain(&self);

    /// No more work is taken; what was taken is finished.
    fn drain(&self);
}
