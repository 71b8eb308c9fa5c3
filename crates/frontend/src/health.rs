//! `grpc.health.v1`: "" and `readiness` say whether work is taken, `liveness`
//! that the process lives, and each model has an entry of its name.
//!
//! Nothing is SERVING before requests are taken, though tonic-health itself
//! starts "" as SERVING. While the server drains every name but `liveness` is
//! NOT_SERVING (a process that drains must not be restarted), and a Watch ends
//! after it has said so: one that stays open would hold its connection, and with
//! it the stop. None of it waits behind work.

use std::{collections::BTreeSet, pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, stream};
use sortie_proto::v1::encoder_service_server::SERVICE_NAME;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::{
    ServingStatus,
    pb::{
        HealthCheckRequest, HealthCheckResponse,
        health_server::{Health, HealthServer},
    },
    server::{HealthReporter, HealthService},
};

/// Orchestrators' name for "send me work".
pub const READINESS: &str = "readiness";
/// Orchestrators' name for "do not restart me".
pub const LIVENESS: &str = "liveness";

/// The process's health.
#[derive(Clone, Debug)]
pub struct ServerHealth {
    reporter: HealthReporter,
    reported: Arc<Mutex<ReportedHealth>>,
    draining: CancellationToken,
}

/// What is said of every name but `liveness`, failed models aside.
#[derive(Debug)]
struct ReportedHealth {
    names: BTreeSet<String>,
    status: ServingStatus,
}

impl ServerHealth {
    /// NOT_SERVING everywhere but in `liveness`.
    pub async fn new(models: Vec<String>) -> Self {
        let mut names = BTreeSet::from(["", READINESS, SERVICE_NAME].map(str::to_owned));
        names.extend(models);
        let reported = Arc::new(Mutex::new(ReportedHealth { names, status: ServingStatus::NotServing }));
        let health = Self { reporter: HealthReporter::new(), reported, draining: CancellationToken::new() };
        health.set(ServingStatus::NotServing).await;
        health.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        health
    }

    /// The service that says so.
    #[must_use]
    pub fn service(&self) -> HealthServer<impl Health> {
        let statuses = HealthService::from_health_reporter(self.reporter.clone());
        HealthServer::new(EndableHealthService { statuses, draining: self.draining.clone() })
    }

    /// Work is taken.
    pub async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    /// Work is no longer taken.
    pub async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    /// Takes back what is said of one model.
    pub async fn failed(&self, model: &str) {
        self.reporter.set_service_status(model, ServingStatus::NotServing).await;
    }

    /// A model that came later: what is said of all is said of it.
    pub async fn add_model(&self, model: &str) {
        let mut reported = self.reported.lock().await;
        reported.names.insert(model.to_owned());
        self.reporter.set_service_status(model, reported.status).await;
    }

    /// A model that is served no longer: its name is not known any more.
    pub async fn forget(&self, model: &str) {
        if self.reported.lock().await.names.remove(model) {
            self.reporter.clone().clear_service_status(model).await;
        }
    }

    /// Cancelled when watches end, and with them every stream that goes on by itself.
    pub(crate) fn leaving(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// Says NOT_SERVING of every name but `liveness` and ends every Watch, those still to come too.
    pub async fn end_watches(&self) {
        self.not_serving().await;
        self.draining.cancel();
    }

    async fn set(&self, status: ServingStatus) {
        let mut reported = self.reported.lock().await;
        reported.status = status;
        for name in &reported.names {
            self.reporter.set_service_status(name, status).await;
        }
    }
}

/// tonic-health's service, whose Watch streams never end while their name is known, with an end.
struct EndableHealthService {
    statuses: HealthService,
    draining: CancellationToken,
}

#[tonic::async_trait]
impl Health for EndableHealthService {
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
        let health = ServerHealth::new(vec!["m".to_owned()]).await;
        let mut client = HealthClient::new(health.service());
        health.serving().await;
        let mut old = vec![];
        for name in NAMES {
            let mut watch = client.watch(of(name)).await.unwrap().into_inner();
            assert_eq!(watch.message().await.unwrap().unwrap().status, 1, "{name:?}");
            old.push(watch);
        }
        health.end_watches().await;
        for (name, mut old) in NAMES.into_iter().zip(old) {
            let reported = if name == LIVENESS { 1 } else { 2 };
            if name != LIVENESS {
                assert_eq!(old.message().await.unwrap().unwrap().status, reported, "{name:?}");
            }
            let mut new = client.watch(of(name)).await.unwrap().into_inner();
            assert_eq!(new.message().await.unwrap().unwrap().status, reported, "{name:?}");
            for mut watch in [old, new] {
                assert!(watch.message().await.unwrap().is_none(), "{name:?} is still watched");
            }
            assert_eq!(client.check(of(name)).await.unwrap().into_inner().status, reported, "{name:?}");
        }
        assert_eq!(client.check(of("nobody")).await.unwrap_err().code(), Code::NotFound);
    }

    #[tokio::test]
    async fn a_model_that_comes_is_said_what_the_others_are_and_one_that_goes_is_unknown() {
        let of = |name: &str| HealthCheckRequest { service: name.to_owned() };
        let health = ServerHealth::new(vec![]).await;
        let mut client = HealthClient::new(health.service());
        health.add_model("early").await;
        assert_eq!(client.check(of("early")).await.unwrap().into_inner().status, 2);
        health.serving().await;
        health.add_model("late").await;
        for name in ["early", "late"] {
            assert_eq!(client.check(of(name)).await.unwrap().into_inner().status, 1, "{name}");
        }
        health.forget("late").await;
        health.not_serving().await;
        assert_eq!(client.check(of("late")).await.unwrap_err().code(), Code::NotFound);
    }
}
