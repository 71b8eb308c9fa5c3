//! Strategies at work over sockets.
//!
//! `sortie` is the client library as anybody would use it. The others are what people write by hand, over any protocol
//! and the same transport settings: none plans, none knows what a token costs.

mod baseline;
mod run;
mod sortie;

use std::sync::Arc;

pub(crate) use self::baseline::BYTES_PER_TOKEN;

use self::{baseline::BaselineDriver, run::JobRun, sortie::SortieDriver};
use super::{
    args::BenchArgs,
    jobs::BenchJob,
    record::BenchJobEnd,
    target::{BenchError, BenchTarget},
    texts::TextPool,
};
use crate::{
    Strategy,
    baseline::{Cut, RetryOn, RetryRule},
    stats::Spent,
};

/// A strategy at work. Clones share connections and what was learned.
#[derive(Clone, Debug)]
pub(crate) enum StrategyDriver {
    /// By hand.
    Baseline(Arc<BaselineDriver>),
    /// The client library.
    Sortie(Arc<SortieDriver>),
}

impl StrategyDriver {
    /// Sets one up, with connections of its own.
    pub(crate) async fn start(
        strategy: Strategy,
        args: &BenchArgs,
        target: &BenchTarget,
        pool: &Arc<TextPool>,
    ) -> Result<Self, BenchError> {
        let parts = Cut::Items(args.chunk as usize);
        let retry = RetryRule {
            attempts: args.retries.saturating_add(1),
            on: RetryOn::Unavailable,
            elsewhere: true,
            numbered: true,
        };
        Ok(match strategy.rules(parts, retry) {
            Some(rules) => Self::Baseline(Arc::new(BaselineDriver::start(rules, args, target, pool)?)),
            None => Self::Sortie(Arc::new(SortieDriver::start(strategy, args.task, target, pool).await?)),
        })
    }

    /// Runs one job to its end. Dropping the future cancels it.
    pub(crate) async fn drive(&self, job: BenchJob) -> BenchJobEnd {
        match self {
            Self::Baseline(baseline) => JobRun::new(baseline, &job).run().await,
            Self::Sortie(sortie) => sortie.drive(&job).await,
        }
    }

    /// Tokens sent so far.
    pub(crate) fn spent(&self) -> Spent {
        match self {
            Self::Baseline(baseline) => baseline.spent(),
            Self::Sortie(sortie) => sortie.spent(),
        }
    }
}
