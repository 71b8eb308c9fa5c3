//! The strategy `sortie`: the client library, set up as for every other command, perhaps without some of its rules.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use sortie_client::{Client, DispatchConfig, Report};

use crate::{
    Strategy,
    bench::{
        jobs::BenchJob,
        record::{AnsweredJob, BenchJobEnd},
        target::{BenchError, BenchTarget},
        texts::TextPool,
        wire::{BenchTask, fingerprint},
    },
    stats::Spent,
};

/// The client at work.
#[derive(Debug)]
pub(crate) struct SortieDriver {
    client: Client,
    task: BenchTask,
    pool: Arc<TextPool>,
    first: AtomicU64,
    hedges: AtomicU64,
    retries: AtomicU64,
    free: AtomicU64,
}

impl SortieDriver {
    /// Connects and meets the servers.
    pub(super) async fn start(
        strategy: Strategy,
        task: BenchTask,
        target: &BenchTarget,
        pool: &Arc<TextPool>,
    ) -> Result<Self, BenchError> {
        let mut builder = target.client.clone();
        if strategy != Strategy::Sortie {
            let mut dispatch = DispatchConfig::default();
            strategy.restrict(&mut dispatch);
            builder = builder.dispatch(dispatch);
        }
        let client = builder.connect().await?;
        let [first, hedges, retries, free] = [const { AtomicU64::new(0) }; 4];
        Ok(Self { client, task, pool: Arc::clone(pool), first, hedges, retries, free })
    }

    /// Tokens sent so far.
    pub(super) fn spent(&self) -> Spent {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Spent {
            first: read(&self.first),
            hedges: read(&self.hedges),
            retries: read(&self.retries),
            free: read(&self.free),
        }
    }

    /// Runs one job.
    pub(super) async fn drive(&self, job: &BenchJob) -> BenchJobEnd {
        let documents = job.documents.iter().map(|&index| self.pool.document(index));
        let answer = match self.task {
            BenchTask::Rerank => {
                let call = self.client.rerank(self.pool.query(job.query), documents);
                call.await.map(|answer| (answer.scores, answer.report))
            }
            BenchTask::Embed => self.client.embed(documents).await.map(|answer| {
                let of = |vector: &Option<Vec<f32>>| vector.as_deref().and_then(fingerprint);
                (answer.vectors.iter().map(of).collect(), answer.report)
            }),
            BenchTask::Classify => self.client.classify(documents).await.map(|answer| {
                let best = |place| answer.best(place).map(|(_, score)| score);
                ((0..answer.scores.len()).map(best).collect::<Vec<_>>(), answer.report)
            }),
        };
        let (mut values, report) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let word = error.reason().map(str::to_owned);
                return BenchJobEnd::Failed(word.unwrap_or_else(|| error.kind().reason()));
            }
        };
        self.count(&report);
        let mut answered = answered(&report);
        answered.twice += values.len().saturating_sub(job.documents.len());
        values.resize(job.documents.len(), None);
        answered.judge(&values, job, &self.pool);
        BenchJobEnd::Answered(answered)
    }

    /// The report has hedges and paid retries in one sum; where a job had both, it is shared out by their numbers.
    fn count(&self, report: &Report) {
        let paid = report.extra_tokens.saturating_sub(report.free_tokens);
        let hedges = match u64::from(report.hedges) + u64::from(report.retries) {
            0 => 0,
            both => paid * u64::from(report.hedges) / both,
        };
        self.first.fetch_add(report.total_tokens(), Ordering::Relaxed);
        self.hedges.fetch_add(hedges, Ordering::Relaxed);
        self.retries.fetch_add(paid - hedges, Ordering::Relaxed);
        self.free.fetch_add(report.free_tokens, Ordering::Relaxed);
    }
}

/// The report as every strategy has it.
fn answered(report: &Report) -> AnsweredJob {
    let mut servers = BTreeMap::new();
    for chunk in &report.chunks {
        *servers.entry(chunk.endpoint.clone()).or_default() += chunk.tokens;
    }
    AnsweredJob {
        tokens: report.total_tokens(),
        servers,
        chunks: report.chunks.len() as u64,
        hedges: report.hedges.into(),
        hedges_won: report.hedges_won.into(),
        retries: report.retries.into(),
        truncated: report.truncated.iter().filter(|cut| **cut).count() as u64,
        ..AnsweredJob::default()
    }
}
