//! `sortie-sim`: whole jobs against sortie's chunks, on one simulated fleet.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use sortie_dispatch::{Cost, config::PRIOR};
use sortie_sim::{Outcome, Scenario, ScenarioError, Strategy, run};

/// Simulate a fleet and print job latencies for two ways to send jobs.
#[derive(Debug, Parser)]
#[command(name = "sortie-sim", version)]
struct Args {
    /// Servers
    #[arg(long, default_value_t = 8)]
    servers: usize,
    /// Clients that know nothing of each other
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// Tokens that arrive over tokens that the fleet could run
    #[arg(long, default_value_t = 0.5)]
    load: f64,
    /// Milliseconds of a batch, whatever its size
    #[arg(long, default_value_t = PRIOR.a_us / 1e3)]
    a_ms: f64,
    /// Microseconds of a token
    #[arg(long, default_value_t = PRIOR.b_us)]
    b_us: f64,
    /// Tokens in a batch
    #[arg(long, default_value_t = Scenario::default().budget)]
    budget: u64,
    /// Tokens of a job
    #[arg(long, default_value_t = Scenario::default().job_tokens)]
    job_tokens: u64,
    /// Items of a job
    #[arg(long, default_value_t = Scenario::default().items)]
    items: usize,
    /// Jobs to count
    #[arg(long, default_value_t = Scenario::default().jobs)]
    jobs: usize,
    /// Time to a server and back
    #[arg(long, default_value = "500us", value_parser = humantime::parse_duration)]
    round_trip: Duration,
    /// Where all chance comes from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Args {
    fn scenario(&self) -> Scenario {
        Scenario {
            servers: self.servers,
            clients: self.clients,
            load: self.load,
            cost: Cost { a_us: self.a_ms * 1e3, b_us: self.b_us },
            budget: self.budget,
            job_tokens: self.job_tokens,
            items: self.items,
            jobs: self.jobs,
            round_trip: self.round_trip,
            seed: self.seed,
            ..Scenario::default()
        }
    }
}

fn main() -> ExitCode {
    match table(&Args::parse().scenario()) {
        Ok(table) => {
            println!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn table(scenario: &Scenario) -> Result<Table, ScenarioError> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["jobs sent as", "p50", "p99", "chunks", "extra tokens", "failed"]);
    for (name, strategy) in [("whole, least loaded", Strategy::WholeJob), ("sortie chunks", Strategy::Chunks)] {
        table.add_row(row(name, scenario, &run(scenario, strategy)?));
    }
    for column in 1..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Ok(table)
}

fn row(name: &str, scenario: &Scenario, outcome: &Outcome) -> [String; 6] {
    let ms = |q| format!("{:.2} ms", outcome.latencies.quantile(q).as_secs_f64() * 1e3);
    let jobs = scenario.jobs + scenario.jobs.div_ceil(10);
    [
        name.to_owned(),
        ms(0.5),
        ms(0.99),
        format!("{:.1}", outcome.chunks_per_job(jobs)),
        format!("{:.1}%", 100.0 * outcome.extra_tokens()),
        outcome.failed.to_string(),
    ]
}
