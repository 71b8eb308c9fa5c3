//! The flags of `cargo xtask bench fleet`.

use sortie_benches::timed::Build;

use crate::scenario::FaultScenario;

/// Servers of the fleet.
pub(crate) const SERVERS: u8 = 4;

/// Four servers, of which some stall, die, restart or are slow.
#[derive(Debug, clap::Parser)]
#[command(name = "cargo xtask bench fleet", bin_name = "cargo xtask bench fleet")]
pub(crate) struct Args {
    /// What goes wrong; everything in turn if left out
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) scenarios: Vec<FaultScenario>,
    /// Seconds each strategy is measured in each scenario
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(4..))]
    pub(crate) seconds: u64,
    /// Turns the strategies of a scenario take
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Offered tokens over what four servers can do
    #[arg(long, default_value_t = 0.6)]
    pub(crate) load: f64,
    /// Factor on the devices' cost: above 1 for machines, or builds, that cannot keep up with the real figures
    #[arg(long, default_value_t = 1.0)]
    pub(crate) slower: f64,
    /// Where arrivals and faults begin
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) build: Build,
}
