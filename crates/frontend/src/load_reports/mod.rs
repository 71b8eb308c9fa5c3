//! What the process says of its load: in the trailers of answers, and as a stream to who asks for one.

mod failures;
mod stream;

use std::sync::Arc;

use sortie_proto::{
    load::{ProcessLoad, to_orca},
    orca::OrcaLoadReport,
};
use tokio::time::Instant;

pub(crate) use self::{failures::FailureShare, stream::OrcaStream};
use crate::{asked_model::AskedModel, backing::Backing, metrics::RequestMetrics};

/// Where reports come from.
#[derive(Clone, Debug)]
pub(crate) struct LoadReports {
    backing: Arc<dyn Backing>,
    requests: Arc<RequestMetrics>,
}

impl LoadReports {
    pub(crate) fn new(backing: Arc<dyn Backing>, requests: Arc<RequestMetrics>) -> Self {
        Self { backing, requests }
    }

    /// The load now, and that of the model that was asked, if one was.
    pub(crate) fn report(&self, asked: Option<&dyn AskedModel>) -> OrcaLoadReport {
        let failed = self.requests.failures.share(Instant::now());
        let process = ProcessLoad::of(&self.backing.load_reports(), failed);
        to_orca(process.as_ref(), asked.map(AskedModel::load_report).as_ref())
    }
}
