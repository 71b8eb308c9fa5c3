//! What is counted everywhere: latencies by rank, how jobs ended, tokens by kind.

mod latency;
mod outcomes;
mod spent;

pub use latency::{LatencySamples, nearest_rank, quantile};
pub use outcomes::{JobEnd, Outcomes};
pub use spent::Spent;
