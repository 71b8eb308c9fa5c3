//! What is counted everywhere: latencies by rank, tokens by kind.

mod latency;
mod spent;

pub use latency::{LatencySamples, nearest_rank, quantile};
pub use spent::Spent;
