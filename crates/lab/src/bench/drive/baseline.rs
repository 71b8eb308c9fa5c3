//! A [`Baseline`] over the generated stubs and tonic's own transport, as people write it by hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sortie_dispatch::config::{BudgetConfig, HedgeConfig};
use sortie_proto::v1::{Input, RerankRequest, RerankResponse, input::Kind};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
};

use super::server::BaselineServer;
use crate::{
    baseline::{Baseline, BaselineRules, BaselineSetup, ChunkItem, ExpectedTime},
    bench::{
        jobs::BenchJob,
        target::{BenchError, BenchTarget},
        texts::TextPool,
    },
    stats::Spent,
};

/// Bytes that count as a token where all that is needed is a share of others.
const BYTES_PER_TOKEN: usize = 4;

/// A baseline at work.
#[derive(Debug)]
pub(crate) struct BaselineDriver {
    pub(super) baseline: Mutex<Baseline>,
    pub(super) servers: Vec<BaselineServer>,
    pub(super) pool: Arc<TextPool>,
    /// Time counts from here.
    pub(super) began: Instant,
    model: String,
    headers: RequestHeaders,
    jobs: AtomicU32,
}

/// Metadata of every request.
#[derive(Debug)]
struct RequestHeaders {
    lane: &'static str,
    tenant: Option<MetadataValue<Ascii>>,
    authorization: Option<MetadataValue<Ascii>>,
}

impl BaselineDriver {
    /// Sets it up; connections are made when first needed.
    pub(super) fn start(
        rules: BaselineRules,
        target: &BenchTarget,
        pool: &Arc<TextPool>,
        seed: u64,
    ) -> Result<Self, BenchError> {
        let value = |flag: &str, text: &str| {
            MetadataValue::try_from(text).map_err(|_| BenchError::Usage(format!("{flag}: is no header value")))
        };
        let servers = target.endpoints.iter().map(|endpoint| BaselineServer::new(endpoint));
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        let mut hedge = HedgeConfig::default();
        // Nothing is known of cost, and so nothing is late before enough has been answered.
        hedge.cold_trigger = f64::INFINITY;
        let token = target.token.as_ref().map(|token| format!("Bearer {token}"));
        Ok(Self {
            baseline: Mutex::new(Baseline::new(BaselineSetup {
                rules,
                servers: servers.len(),
                deadline: target.deadline,
                expected: ExpectedTime::UNKNOWN,
                hedge,
                budget: BudgetConfig::default(),
                exclusion: true,
                turn: 0,
                seed,
            })),
            servers,
            pool: Arc::clone(pool),
            began: Instant::now(),
            model: target.model.clone(),
            headers: RequestHeaders {
                lane: target.lane.name(),
                tenant: target.tenant.as_deref().map(|name| value("--tenant", name)).transpose()?,
                authorization: token.as_deref().map(|token| value("--token", token)).transpose()?,
            },
            jobs: AtomicU32::new(0),
        })
    }

    /// Tokens sent so far.
    pub(super) fn spent(&self) -> Spent {
        self.baseline.lock().totals().spent
    }

    /// A number for a job.
    pub(super) fn next_job(&self) -> u32 {
        self.jobs.fetch_add(1, Ordering::Relaxed)
    }

    /// Tokens of each document of a job with its query, about.
    pub(super) fn tokens<'a>(&'a self, job: &'a BenchJob) -> impl Iterator<Item = u64> + 'a {
        let query = self.pool.query(job.query).len();
        job.documents
            .iter()
            .map(move |&document| ((query + self.pool.document(document).len()) / BYTES_PER_TOKEN) as u64)
    }

    /// One request, as attempt `number` of its chunk.
    pub(super) async fn request(
        &self,
        job: &BenchJob,
        items: &[ChunkItem],
        server: usize,
        number: u32,
        deadline: Duration,
    ) -> Result<RerankResponse, Status> {
        let text = |text: &str| Input { kind: Some(Kind::Text(text.to_owned())) };
        let documents = items.iter().filter_map(|item| job.documents.get(item.place));
        let mut request = Request::new(RerankRequest {
            model: self.model.clone(),
            query: Some(text(self.pool.query(job.query))),
            documents: documents.map(|&document| text(self.pool.document(document))).collect(),
            ..RerankRequest::default()
        });
        request.set_timeout(deadline.saturating_sub(self.began.elapsed()));
        let headers = request.metadata_mut();
        headers.insert("sortie-lane", MetadataValue::from_static(self.headers.lane));
        headers.insert("sortie-attempt", MetadataValue::from(number));
        if let Some(tenant) = &self.headers.tenant {
            headers.insert("sortie-tenant", tenant.clone());
        }
        if let Some(authorization) = &self.headers.authorization {
            headers.insert("authorization", authorization.clone());
        }
        let gone = || Status::internal("there is no such server");
        let mut stub = self.servers.get(server).and_then(BaselineServer::stub).ok_or_else(gone)?;
        Ok(stub.rerank(request).await?.into_inner())
    }
}
