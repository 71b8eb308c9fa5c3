//! A [`Baseline`] over any protocol, as people write it by hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sortie_dispatch::config::{BudgetConfig, HedgeConfig};
use tonic::Status;

use crate::{
    baseline::{Baseline, BaselineRules, BaselineSetup, ChunkItem, ExpectedTime},
    bench::{
        args::BenchArgs,
        jobs::BenchJob,
        target::{BenchError, BenchTarget},
        texts::TextPool,
        wire::{WireCall, WireFailure, WireHeaders, WireReply, WireServer},
    },
    stats::Spent,
};

/// Bytes that count as a token where all that is needed is a share of others.
pub(crate) const BYTES_PER_TOKEN: usize = 4;

/// A baseline at work.
#[derive(Debug)]
pub(crate) struct BaselineDriver {
    pub(super) baseline: Mutex<Baseline>,
    pub(super) servers: Vec<WireServer>,
    pub(super) pool: Arc<TextPool>,
    /// Time counts from here.
    pub(super) began: Instant,
    headers: WireHeaders,
    jobs: AtomicU32,
}

impl BaselineDriver {
    /// Sets it up; connections are made when first needed.
    pub(super) fn start(
        rules: BaselineRules,
        args: &BenchArgs,
        target: &BenchTarget,
        pool: &Arc<TextPool>,
    ) -> Result<Self, BenchError> {
        let servers = target.endpoints.iter().map(|endpoint| WireServer::new(endpoint, args.protocol));
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        let mut hedge = HedgeConfig::default();
        // Nothing is known of cost, and so nothing is late before enough has been answered.
        hedge.cold_trigger = f64::INFINITY;
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
                seed: args.seed,
            })),
            servers,
            pool: Arc::clone(pool),
            began: Instant::now(),
            headers: WireHeaders::new(target, args.task)?,
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
    ) -> Result<WireReply, WireFailure> {
        let documents = items.iter().filter_map(|item| job.documents.get(item.place));
        let call = WireCall {
            query: self.pool.query(job.query),
            texts: documents.map(|&document| self.pool.document(document)).collect(),
            attempt: number,
            timeout: deadline.saturating_sub(self.began.elapsed()),
        };
        let gone = || WireFailure::from(Status::internal("there is no such server"));
        self.servers.get(server).ok_or_else(gone)?.call(call, &self.headers).await
    }
}
