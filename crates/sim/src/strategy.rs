//! How clients send jobs.

/// How a client sends jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// A fixed number of chunks to servers drawn at random: a channel that balances without load.
    Random,
    /// A fixed number of chunks, each to the one of two random servers with fewer own requests in flight.
    P2c,
    /// The same, with a hedge at the same quantile and from the same budget as `Sortie`'s.
    P2cHedge,
    /// The whole job to servers in turn, once: a stub without a retry policy.
    Once,
    /// The whole job to servers in turn; one that was refused is sent to the next at once, up to five attempts in all:
    /// a stub in a loop.
    Again,
    /// The whole job to the server that would finish it first, by all that dispatch knows.
    WholeJob,
    /// The real thing: as dispatch decides.
    Sortie,
}

impl Strategy {
    /// The word for it in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::P2c => "p2c",
            Self::P2cHedge => "p2c + hedge",
            Self::Once => "no retry",
            Self::Again => "retry at once",
            Self::WholeJob => "whole job",
            Self::Sortie => "sortie",
        }
    }
}
