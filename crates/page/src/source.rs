//! What a process gives the page to show.

use std::fmt::Debug;

use serde::Serialize;
use sortie_proto::v1::{LoadReport, ModelInfo};

use crate::state::PageLoad;

/// What is behind the process: models of its own, or a fleet.
pub trait PageSource: Debug + Send + Sync + 'static {
    /// Every model with its load, in name order; must not wait.
    fn models(&self) -> Vec<(ModelInfo, LoadReport)>;

    /// The servers behind a gateway; `None` for a server, which has none.
    fn fleet(&self) -> Option<PageFleet>;
}

/// The servers behind a gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PageFleet {
    /// In the order they became known.
    pub servers: Vec<PageServer>,
    /// Tokens that retries may still take.
    pub retry_budget_tokens: u64,
    /// Tokens that hedges may still take.
    pub hedge_budget_tokens: u64,
    /// Chunks sent since the start.
    pub chunks: u64,
    /// Of the attempts since the start, those made beside a late one.
    pub hedges: u64,
    /// Hedges whose answer came first.
    pub hedges_won: u64,
    /// Attempts made again after one failed.
    pub retries: u64,
}

/// One server of a fleet.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PageServer {
    /// Its address.
    pub address: String,
    /// What it calls itself; empty before it has said so.
    pub replica: String,
    /// Connections that stand.
    pub connections: usize,
    /// `ready`, `suspect`, `ejected` or `away`.
    pub state: &'static str,
    /// Tokens that it has of this gateway and has not answered.
    pub in_flight_tokens: u64,
    /// What it serves.
    pub models: Vec<PageServerModel>,
}

/// A model on one server.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PageServerModel {
    /// Its name.
    pub name: String,
    /// As the server said in the last round; `None` where it did not.
    pub load: Option<PageLoad>,
    /// Fixed cost of a batch as the gateway has learned it, in milliseconds.
    pub a_ms: f64,
    /// Cost of a token as the gateway has learned it, in microseconds.
    pub b_us: f64,
    /// Batches that these were learned from; 0 where nothing was learned yet.
    pub samples: u64,
}
