//! Strategies: ways to spread a job over the servers.
//!
//! `sortie` is the client library as anybody would use it. The others are what people write by hand, over the same
//! generated stubs and transport settings: none plans, none knows what a token costs.

mod baseline;
mod quantile;
mod server;
mod sortie;
mod token_bucket;

use std::sync::Arc;

pub(crate) use self::baseline::BaselineStrategy;
use self::{baseline::BalancePolicy, sortie::SortieStrategy};
use super::{
    arrivals::BenchJob,
    record::{BenchJobEnd, Spent},
    texts::TextPool,
};
use crate::{args::BenchArgs, context::CommandContext, exit::CommandFailure};

/// A way to spread a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Strategy {
    /// Chunks of a fixed number of documents, round robin, no hedge
    Naive,
    /// Such chunks, each to the one of two random servers with fewer of ours in flight
    P2c,
    /// The same, with hedges at the 97th percentile and 5% of the tokens
    #[value(name = "p2c+hedge")]
    P2cHedge,
    /// The whole job to the server with the least of ours in flight
    Whole,
    /// The client library without hedges and suspicion: what those are worth
    SortieNoHedge,
    /// The client library
    Sortie,
}

impl Strategy {
    /// Its name on the command line and in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::P2c => "p2c",
            Self::P2cHedge => "p2c+hedge",
            Self::Whole => "whole",
            Self::SortieNoHedge => "sortie-no-hedge",
            Self::Sortie => "sortie",
        }
    }
}

/// A strategy at work. Clones share connections and what was learned.
#[derive(Clone, Debug)]
pub(crate) enum StrategyDriver {
    /// By hand.
    Baseline(Arc<BaselineStrategy>),
    /// The client library.
    Sortie(Arc<SortieStrategy>),
}

impl StrategyDriver {
    /// Sets one up, with connections of its own.
    pub(crate) async fn start(
        strategy: Strategy,
        args: &BenchArgs,
        context: &CommandContext,
        pool: &Arc<TextPool>,
    ) -> Result<Self, CommandFailure> {
        let baseline = |policy, hedge| {
            BaselineStrategy::start(policy, hedge, args, context, pool).map(|p| Self::Baseline(Arc::new(p)))
        };
        match strategy {
            Strategy::Naive => baseline(BalancePolicy::RoundRobin, false),
            Strategy::P2c => baseline(BalancePolicy::TwoChoices, false),
            Strategy::P2cHedge => baseline(BalancePolicy::TwoChoices, true),
            Strategy::Whole => baseline(BalancePolicy::Whole, false),
            Strategy::Sortie => Ok(Self::Sortie(Arc::new(SortieStrategy::start(context, pool, true).await?))),
            Strategy::SortieNoHedge => Ok(Self::Sortie(Arc::new(SortieStrategy::start(context, pool, false).await?))),
        }
    }

    /// Runs one job to its end. Dropping the future cancels it.
    pub(crate) async fn drive(&self, job: BenchJob) -> BenchJobEnd {
        match self {
            Self::Baseline(baseline) => baseline.drive(&job).await,
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
