//! `grpc.health.v1`: "" and `readiness` say whether work is taken, `liveness`
//! that the process lives, and each model has an entry of its name.
//!
//! Nothing is SERVING before requests are taken, though tonic-health itself
//! starts "" as SERVING.

use sortie_proto::v1::encoder_service_server::SERVICE_NAME;
use tonic_health::{ServingStatus, server::HealthReporter};

/// Orchestrators' name for "send me work".
pub const READINESS: &str = "readiness";
/// Orchestrators' name for "do not restart me".
pub const LIVENESS: &str = "liveness";

/// The process's health.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    reporter: HealthReporter,
    names: Vec<String>,
}

impl Health {
    /// NOT_SERVING everywhere but in `liveness`.
    pub(crate) async fn new(reporter: HealthReporter, models: Vec<String>) -> Self {
        let mut names = vec![String::new(), READINESS.to_owned(), SERVICE_NAME.to_owned()];
        names.extend(models);
        let health = Self { reporter, names };
        health.set(ServingStatus::NotServing).await;
        health.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        health
    }

    /// Work is taken.
    pub(crate) async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    /// Work is no longer taken.
    pub(crate) async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    /// Takes back what is said of one model.
    pub(crate) async fn failed(&self, model: &str) {
        self.reporter.set_service_status(model, ServingStatus::NotServing).await;
    }

    /// Ends every Watch stream, which would otherwise hold its connection open for ever.
    pub(crate) async fn end_watches(&mut self) {
        for name in &self.names {
            self.reporter.clear_service_status(name).await;
        }
        self.reporter.clear_service_status(LIVENESS).await;
    }

    async fn set(&self, status: ServingStatus) {
        for name in &self.names {
            self.reporter.set_service_status(name, status).await;
        }
    }
}
