//! Strategies: ways to spread a job over the servers.
//!
//! `sortie` is the client library as anybody would use it. The others are what people write by hand, over the same
//! generated stubs and transport settings: none plans, none knows what a token costs.

mod budget;
mod own;
mod plain;
mod quantile;
mod server;

use std::sync::Arc;

pub(crate) use self::plain::Plain;
use self::{own::Own, plain::Rule};
use super::{
    arrivals::Job,
    record::{Ended, Spent},
    texts::Pool,
};
use crate::{args::BenchArgs, exit::Failure, session::Session};

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
pub(crate) enum Driver {
    /// By hand.
    Plain(Arc<Plain>),
    /// The client library.
    Own(Arc<Own>),
}

impl Driver {
    /// Sets one up, with connections of its own.
    pub(crate) async fn start(
        strategy: Strategy,
        args: &BenchArgs,
        session: &Session,
        pool: &Arc<Pool>,
    ) -> Result<Self, Failure> {
        let plain = |rule, hedge| Plain::start(rule, hedge, args, session, pool).map(|p| Self::Plain(Arc::new(p)));
        match strategy {
            Strategy::Naive => plain(Rule::RoundRobin, false),
            Strategy::P2c => plain(Rule::TwoChoices, false),
            Strategy::P2cHedge => plain(Rule::TwoChoices, true),
            Strategy::Whole => plain(Rule::Whole, false),
            Strategy::Sortie => Ok(Self::Own(Arc::new(Own::start(session, pool, true).await?))),
            Strategy::SortieNoHedge => Ok(Self::Own(Arc::new(Own::start(session, pool, false).await?))),
        }
    }

    /// Runs one job to its end. Dropping the future cancels it.
    pub(crate) async fn drive(&self, job: Job) -> Ended {
        match self {
            Self::Plain(plain) => plain.drive(&job).await,
            Self::Own(own) => own.drive(&job).await,
        }
    }

    /// Tokens sent so far.
    pub(crate) fn spent(&self) -> Spent {
        match self {
            Self::Plain(plain) => plain.spent(),
            Self::Own(own) => own.spent(),
        }
    }
}
