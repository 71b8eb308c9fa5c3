//! The strategy `sortie`: the client library, set up as every other command sets it up.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use sortie_client::{Client, Report};

use crate::{
    bench::{
        arrivals::Job,
        record::{Answered, Ended, Spent},
        texts::Pool,
    },
    exit::Failure,
    session::Session,
};

/// The client at work.
#[derive(Debug)]
pub(crate) struct Own {
    client: Client,
    pool: Arc<Pool>,
    first: AtomicU64,
    retries: AtomicU64,
}

impl Own {
    /// Connects and meets the servers.
    pub(super) async fn start(session: &Session, pool: &Arc<Pool>) -> Result<Self, Failure> {
        let client = session.builder().connect().await?;
        Ok(Self { client, pool: Arc::clone(pool), first: AtomicU64::new(0), retries: AtomicU64::new(0) })
    }

    /// Tokens sent so far.
    pub(super) fn spent(&self) -> Spent {
        Spent { first: self.first.load(Ordering::Relaxed), hedges: 0, retries: self.retries.load(Ordering::Relaxed) }
    }

    /// Runs one job.
    pub(super) async fn drive(&self, job: &Job) -> Ended {
        let documents = job.documents.iter().map(|&index| self.pool.document(index));
        let answer = match self.client.rerank(self.pool.query(job.query), documents).await {
            Ok(answer) => answer,
            Err(error) => {
                let word = error.reason().map(str::to_owned);
                return Ended::Failed(word.unwrap_or_else(|| crate::failure::word(&error)));
            }
        };
        self.count(&answer.report);
        let (mut missing, mut wrong) = (0, 0);
        for (score, &document) in answer.scores.iter().zip(&job.documents) {
            match score {
                Some(score) => wrong += usize::from(!self.pool.agrees(job.query, document, *score)),
                None => missing += 1,
            }
        }
        missing += job.documents.len().saturating_sub(answer.scores.len());
        Ended::Answered(Answered { tokens: answer.report.total_tokens(), missing, wrong })
    }

    fn count(&self, report: &Report) {
        self.first.fetch_add(report.total_tokens(), Ordering::Relaxed);
        let again: u64 = report.parts.iter().map(|part| part.tokens * u64::from(part.attempt.saturating_sub(1))).sum();
        self.retries.fetch_add(again, Ordering::Relaxed);
    }
}
