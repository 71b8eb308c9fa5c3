//! The ways to send a job, of ours and of others: one list for the simulator and for `sortie bench`.

use clap::ValueEnum;
use sortie_dispatch::DispatchConfig;

use crate::baseline::{Balance, BaselineRules, Cut, RetryRule};

/// How a client sends jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Strategy {
    /// Chunks of a fixed number of documents, round robin, no hedge
    Naive,
    /// Such chunks to servers drawn at random: a channel that balances without load
    Random,
    /// Such chunks, each to the one of two random servers with fewer of ours in flight
    P2c,
    /// The same, with hedges at the 97th percentile and 5% of the tokens
    #[value(name = "p2c+hedge")]
    P2cHedge,
    /// The whole job to the server with the least of ours in flight
    Whole,
    /// The whole job, round robin, once: a stub without a retry policy
    NoRetry,
    /// The whole job, round robin; where it is refused to the next at once, five times in all: a stub in a loop
    RetryAtOnce,
    /// The client library without cutting: the whole job to the server that would finish it first
    WholeJob,
    /// The client library without hedges and suspicion: what those are worth
    SortieNoHedge,
    /// The client library
    Sortie,
}

impl Strategy {
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

    /// Whether the client library sends.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::WholeJob | Self::SortieNoHedge | Self::Sortie)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_flag_takes() {
        for strategy in Strategy::value_variants() {
            assert_eq!(strategy.to_possible_value().unwrap().get_name(), strategy.name());
        }
    }
}
