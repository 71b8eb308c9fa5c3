//! The ways to send a job, of ours and of others: one list for the simulator and for `sortie bench`.

use clap::{ValueEnum, builder::PossibleValue};
use sortie_dispatch::DispatchConfig;

use crate::baseline::{Balance, BaselineRules, Cut, RetryRule};

/// How a client sends jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Chunks in turn.
    Naive,
    /// Chunks to servers drawn at random: a channel that balances without load.
    Random,
    /// Chunks, each to the one of two random servers with fewer own requests in flight.
    P2c,
    /// The same, with hedges.
    P2cHedge,
    /// The whole job to the server with the fewest own tokens in flight.
    Whole,
    /// The whole job to servers in turn, once: a stub without a retry policy.
    NoRetry,
    /// The whole job to servers in turn; one that was refused is sent to the next at once, up to five attempts in all:
    /// a stub in a loop.
    RetryAtOnce,
    /// The whole job to the server that would finish it first, by all that dispatch knows.
    WholeJob,
    /// As dispatch decides, without hedges and suspicion.
    SortieNoHedge,
    /// As dispatch decides.
    Sortie,
}

impl Strategy {
    /// All, those of others first.
    pub const ALL: [Self; 10] = [
        Self::Naive,
        Self::Random,
        Self::P2c,
        Self::P2cHedge,
        Self::Whole,
        Self::NoRetry,
        Self::RetryAtOnce,
        Self::WholeJob,
        Self::SortieNoHedge,
        Self::Sortie,
    ];

    /// Its name on the command line, in reports and in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Random => "random",
            Self::P2c => "p2c",
            Self::P2cHedge => "p2c+hedge",
            Self::Whole => "whole",
            Self::NoRetry => "no-retry",
            Self::RetryAtOnce => "retry-at-once",
            Self::WholeJob => "whole-job",
            Self::SortieNoHedge => "sortie-no-hedge",
            Self::Sortie => "sortie",
        }
    }

    /// What `--help` says of it.
    const fn help(self) -> &'static str {
        match self {
            Self::Naive => "Chunks of a fixed number of documents, round robin, no hedge",
            Self::Random => "Such chunks to servers drawn at random",
            Self::P2c => "Such chunks, each to the one of two random servers with fewer of ours in flight",
            Self::P2cHedge => "The same, with hedges at the 97th percentile and 5% of the tokens",
            Self::Whole => "The whole job to the server with the least of ours in flight",
            Self::NoRetry => "The whole job, round robin, never again",
            Self::RetryAtOnce => {
                "The whole job, round robin, to the next server at once where it is refused, five times"
            }
            Self::WholeJob => {
                "The client library without cutting: the whole job to the server that would finish it first"
            }
            Self::SortieNoHedge => "The client library without hedges and suspicion: what those are worth",
            Self::Sortie => "The client library",
        }
    }

    /// The rules of a baseline whose chunks are `parts` and whose failures are retried by `retry`, unless it has rules
    /// of its own for them; none where dispatch decides.
    #[must_use]
    pub fn rules(self, parts: Cut, retry: RetryRule) -> Option<BaselineRules> {
        let rules = |cut, balance, retry| Some(BaselineRules { cut, balance, retry, hedges: self == Self::P2cHedge });
        match self {
            Self::Naive => rules(parts, Balance::InTurn, retry),
            Self::Random => rules(parts, Balance::Random, retry),
            Self::P2c | Self::P2cHedge => rules(parts, Balance::TwoChoices, retry),
            Self::Whole => rules(Cut::Whole, Balance::LeastTokens, retry),
            Self::NoRetry => rules(Cut::Whole, Balance::InTurn, RetryRule::NEVER),
            Self::RetryAtOnce => rules(Cut::Whole, Balance::InTurn, RetryRule::AT_ONCE),
            Self::WholeJob | Self::SortieNoHedge | Self::Sortie => None,
        }
    }

    /// Takes away from dispatch what the strategy is without.
    pub fn restrict(self, config: &mut DispatchConfig) {
        match self {
            Self::WholeJob => config.plan.max_chunks = 1,
            Self::SortieNoHedge => {
                config.hedge.enabled = false;
                config.health.suspicion = false;
            }
            _ => {}
        }
    }
}

impl ValueEnum for Strategy {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.help()))
    }
}
