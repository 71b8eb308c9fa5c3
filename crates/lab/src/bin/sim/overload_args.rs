//! The flags of `sortie-sim overload`.

use sortie_lab::study::{self, Callers, FLEETS, LOADS, RunBudget, Shape, Sweep, overload_missed, overload_table};

use crate::Wrong;

/// What is swept.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct OverloadArgs {
    /// Devices: fast, slow, shared, which is slow with 0.3 ms taken from it by every call, and heavy, the demo's
    /// reranker on one core
    #[arg(long, value_delimiter = ',', default_value = "fast,slow,shared,heavy")]
    devices: Vec<String>,
    /// Jobs: small, large
    #[arg(long, value_delimiter = ',', default_value = "small,large")]
    sizes: Vec<String>,
    /// Servers of each fleet
    #[arg(long, value_delimiter = ',', default_values_t = FLEETS)]
    servers: Vec<usize>,
    /// Clients: no-retry, retry-at-once, whole-job, sortie, mixed, or foreign, which is 30% retry-at-once
    /// as another tenant
    #[arg(long, value_delimiter = ',', default_values_t = Callers::ALL.map(|callers| callers.name.to_owned()))]
    clients: Vec<String>,
    /// Shares of what the fleet can do
    #[arg(long, value_delimiter = ',', default_values_t = LOADS)]
    loads: Vec<f64>,
}

impl OverloadArgs {
    /// The table, and where it misses what it should show.
    pub(crate) fn answer(&self, run_budget: RunBudget) -> Result<String, Wrong> {
        let sweep = Sweep {
            shapes: named("--devices", &self.devices, &Shape::all(), |shape| shape.name)?,
            jobs: named("--sizes", &self.sizes, &["small", "large"], |name| *name)?,
            fleets: self.servers.clone(),
            callers: named("--clients", &self.clients, &Callers::ALL, |callers| callers.name)?,
            loads: self.loads.clone(),
        };
        let rows = study::overload(&sweep, run_budget)?;
        let missed = overload_missed(&rows);
        let lines: String = missed.iter().map(|line| format!("\n- {line}")).collect();
        Ok(format!("{}\n\nmissed, {} times:{lines}", overload_table(&rows), missed.len()))
    }
}

/// Those of `all` that were asked for, in the order of asking.
fn named<T: Clone>(
    flag: &str,
    asked: &[String],
    all: &[T],
    name: impl Fn(&T) -> &'static str,
) -> Result<Vec<T>, Wrong> {
    let find = |wanted: &String| {
        let found = all.iter().find(|one| name(one) == wanted);
        let known: Vec<_> = all.iter().map(&name).collect();
        found.cloned().ok_or_else(|| Wrong::from(format!("{flag}: {wanted:?} is none of {}", known.join(", "))))
    };
    asked.iter().map(find).collect()
}
