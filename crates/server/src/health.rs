//! `grpc.health.v1`: "" and `readiness` say whether work is taken, `liveness`
//! that the process lives, and each model has an entry of its name.
//!
//! Nothing is SERVING before requests are taken, though tonic-health itself
//! starts "" as SERVING. While the server drains every name is NOT_SERVING, and
//! a Watch ends after it has said so: one that stays open would hold its
//! connection, and with it the stop.

use std::pin::Pin;

use futures::{Stream, StreamExt as _, stream};
use sortie_proto::v1::encoder_service_server::SERVICE_NAME;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::{
    ServingStatus,
    pb::{
        HealthCheckRequest, HealthCheckResponse,
        health_server::{Health as HealthRpcs, HealthServer},
    },
    server::{HealthReporter, HealthService},
};

/// Orchestrators' name for "send me work".
pub const READINESS: &str = "readiness";
/// Orchestrators' name for "do not restart me".
pub const LIVENESS: &str = "liveness";

/// The process's health.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    reporter: HealthReporter,
    names: Vec<String>,
    draining: CancellationToken,
}

impl Health {
    /// NOT_SERVING everywhere but in `liveness`, and the service that says so.
    pub(crate) async fn new(models: Vec<String>) -> (Self, HealthServer<impl HealthRpcs>) {
        let mut names = vec![String::new(), READINESS.to_owned(), SERVICE_NAME.to_owned()];
        names.extend(models);
        let health = Self { reporter: HealthReporter::new(), names, draining: CancellationToken::new() };
        health.set(ServingStatus::NotServing).await;
        health.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        let statuses = HealthService::from_health_reporter(health.reporter.clone());
        let service = Endable { statuses, draining: health.draining.clone() };
        (health, HealthServer::new(service))
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

    /// Says NOT_SERVING of every name and ends every Watch, those still to come too.
    pub(crate) async fn end_watches(&self) {
        self.not_serving().await;
        self.reporter.set_service_status(LIVENESS, ServingStatus::NotServing).await;
        self.draining.cancel();
    }

    async fn set(&self, status: ServingStatus) {
        for name in &self.names {
            self.reporter.set_service_status(name, status).await;
        }
    }
}

/// tonic-health's service, whose Watch streams never end while their name is known, with an end.
struct Endable {
    statuses: HealthService,
    draining: CancellationToken,
}

#[tonic::async_trait]
impl HealthRpcs for Endable {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.statuses.check(request).await
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let statuses = self.statuses.watch(request).await?.into_inner();
        let until_drained = stream::unfold((statuses, self.draining.clone()), async |(mut statuses, draining)| {
            // What changed before the end is still told.
            let next = tokio::select! {
                biased;
                next = statuses.next() => next,
                () = draining.cancelled() => None,
            };
            next.map(|status| (status, (statuses, draining)))
        });
        Ok(Response::new(until_drained.boxed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;
    use tonic_health::pb::health_client::HealthClient;

    #[tokio::test]
    async fn a_drained_process_says_not_serving_and_ends_watches_old_and_new() {
        const NAMES: [&str; 5] = ["", READINESS, LIVENESS, SERVICE_NAME, "m"];
        let of = |name: &str| HealthCheckRequest { service: name.to_owned() };
        let (health, service) = Health::new(vec!["m".to_owned()]).await;
        let mut client = HealthClient::new(service);
        health.serving().await;
        let mut old = vec![];
        for name in NAMES {
            let mut watch = client.watch(of(name)).await.unwrap().into_inner();
            assert_eq!(watch.message().await.unwrap().unwrap().status, 1, "{name:?}");
            old.push(watch);
        }
        health.end_watches().await;
        for (name, watch) in NAMES.into_iter().zip(old) {
            let new = client.watch(of(name)).await.unwrap().into_inner();
            for mut watch in [watch, new] {
                assert_eq!(watch.message().await.unwrap().unwrap().status, 2, "{name:?}");
                assert!(watch.message().await.unwrap().is_none(), "{name:?} is still watched");
            }
            assert_eq!(client.check(of(name)).await.unwrap().into_inner().status, 2, "{name:?}");
        }
        assert_eq!(client.check(of("nobody")).await.unwrap_err().code(), Code::NotFound);
    }
}
