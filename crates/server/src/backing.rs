//! The models of this process as the frontend sees them.

use std::sync::Arc;

use sortie_frontend::{AskedModel, Backing, RequestContext, ServeError};
use sortie_page::{PageFleet, PageSource};
use sortie_proto::v1::{LoadReport, ModelInfo};

use crate::{
    models::{Registry, Served},
    pipeline::check_admissible,
};

impl AskedModel for Served {
    fn name(&self) -> &str {
        &self.name
    }

    fn revision(&self) -> &str {
        &self.revision
    }

    fn load_report(&self) -> LoadReport {
        self.load_report()
    }
}

impl Backing for Registry {
    fn admissible(&self, context: &RequestContext) -> Result<(), ServeError> {
        // The message is not read yet, but the model that the metadata names would refuse it whatever is in it.
        let Ok(served) = self.get(&context.caller.model) else { return Ok(()) };
        check_admissible(&served, context).inspect_err(|_| context.note_model(served))
    }

    fn only_model(&self) -> Option<Arc<dyn AskedModel>> {
        self.get("").ok().map(|served| served as Arc<dyn AskedModel>)
    }

    fn load_reports(&self) -> Vec<LoadReport> {
        self.all().iter().map(|served| served.load_report()).collect()
    }

    fn announce_drain(&self) {
        self.announce_drain();
    }

    fn drain(&self) {
        self.drain();
    }
}

impl PageSource for Registry {
    fn models(&self) -> Vec<(ModelInfo, LoadReport)> {
        self.all().iter().map(|served| (served.describe(), served.load_report())).collect()
    }

    fn fleet(&self) -> Option<PageFleet> {
        None
    }
}
