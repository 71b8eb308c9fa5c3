//! `sortie-sim`: questions about fleets, answered in virtual time as markdown tables.

mod overload_args;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use sortie_dispatch::{
    Cost, DispatchConfig,
    config::{PRIOR, plan::MAX_CHUNKS},
};
use sortie_lab::{
    fault::Stalls,
    sim::{DEFAULT_BUDGET, DEFAULT_FIXED_CHUNKS, DEFAULT_ITEMS, DEFAULT_JOB_TOKENS, JobSizes, Scenario},
    study::{self, HEADER, MOST_SERVERS, Measured, RunBudget, Workload, row},
    table::markdown,
};

/// Simulates fleets with the real dispatch and scheduler code and prints tables.
#[derive(Debug, Parser)]
#[command(name = "sortie-sim", version)]
struct Args {
    /// The study
    #[command(subcommand)]
    study: Study,
    /// Seeds of each cell, from 1
    #[arg(long, global = true, default_value_t = 1)]
    seeds: u64,
    /// Virtual seconds that are counted of each run
    #[arg(long, global = true, default_value_t = 2.0)]
    seconds: f64,
    /// Jobs that are counted of each run of `small`, `capacity` and, at load 1, `overload`
    #[arg(long, global = true, default_value_t = 3_000)]
    jobs: u64,
    /// Runs at a time
    #[arg(long, global = true, default_value_t = 1)]
    threads: usize,
    /// Draw the answer into this SVG file, where there is a picture of it
    #[arg(long, global = true)]
    plot: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
enum Study {
    /// One fleet of your own: every way to send
    Fleet(FleetArgs),
    /// How many servers a load needs for a p99
    Capacity(CapacityArgs),
    /// 1,000 servers: random, p2c, p2c with hedges, whole jobs and sortie
    Large,
    /// 10,000 servers and 1,000 clients: sortie; minutes for each virtual second
    Vast,
    /// 1,000 servers: sortie with one rule less at a time
    Ablations,
    /// 1,000 servers: noise, load, stalls, lost probes, sizes
    Sensitivity,
    /// 1,000 servers at loads from 0.2 to 0.8
    Loads,
    /// 1,000 servers with 1 to 200 clients
    Clients,
    /// 1 to 16 servers against sending jobs whole
    Small {
        /// Clients of each fleet
        #[arg(long, default_value_t = 4)]
        clients: usize,
    },
    /// Texts of 8,192 tokens among passages, reckoned by their tokens and by their work
    LongTexts,
    /// Loads from 0.8 to 8 with deadlines, from clients that retry, do not, and are ours
    Overload(overload_args::OverloadArgs),
    /// Stalls, deaths, black holes, failures, restarts and new servers on fleets of 4, 16 and 100
    Faults,
}

/// A fleet by its numbers.
#[derive(Clone, Debug, clap::Args)]
struct FleetArgs {
    /// Servers
    #[arg(long, default_value_t = 8)]
    servers: usize,
    /// Clients that know nothing of each other
    #[arg(long, default_value_t = 4)]
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
    #[command(flatten)]
    work: WorkloadArgs,
    /// Most chunks that sortie cuts a job into for speed
    #[arg(long, default_value_t = MAX_CHUNKS)]
    max_chunks: usize,
}

/// What servers are given to do, and their stops.
#[derive(Clone, Debug, clap::Args)]
struct WorkloadArgs {
    /// Tokens in a batch: `sortie_batch_limit_tokens`
    #[arg(long, default_value_t = DEFAULT_BUDGET)]
    budget: u64,
    /// Tokens of a job
    #[arg(long, default_value_t = DEFAULT_JOB_TOKENS)]
    job_tokens: u64,
    /// Items of a job
    #[arg(long, default_value_t = DEFAULT_ITEMS)]
    items: usize,
    /// Mean pause between stops of one process; none without it
    #[arg(long, value_parser = humantime::parse_duration)]
    stall_every: Option<Duration>,
    /// Mean length of a stop
    #[arg(long, value_parser = humantime::parse_duration, default_value = "150ms")]
    stall: Duration,
}

impl WorkloadArgs {
    fn sizes(&self) -> JobSizes {
        JobSizes::Even { job_tokens: self.job_tokens, items: self.items }
    }

    fn stalls(&self) -> Option<Stalls> {
        self.stall_every.map(|every| Stalls { every, length: self.stall, together: 1 })
    }
}

impl FleetArgs {
    fn scenario(&self, run_budget: RunBudget) -> Scenario {
        let warm_up = Duration::from_secs(1);
        let mut dispatch = DispatchConfig::default();
        dispatch.plan.max_chunks = self.max_chunks;
        Scenario {
            servers: self.servers,
            clients: self.clients,
            load: self.load,
            cost: Cost { a_us: self.a_ms * 1e3, b_us: self.b_us },
            budget: self.work.budget,
            sizes: self.work.sizes(),
            stalls: self.work.stalls(),
            fixed_chunks: DEFAULT_FIXED_CHUNKS.min(self.servers),
            dispatch,
            warm_up,
            end: warm_up + Duration::from_secs_f64(run_budget.seconds.max(0.1)),
            ..Scenario::default()
        }
    }
}

/// A load by its numbers; `a`, `b` and the batch are those of your servers.
#[derive(Clone, Debug, clap::Args)]
struct CapacityArgs {
    /// Jobs a second, of all clients together
    #[arg(long)]
    jobs_per_second: f64,
    /// 99 of 100 jobs end within this, such as 100ms
    #[arg(long, value_parser = humantime::parse_duration)]
    p99: Duration,
    /// Milliseconds of a batch, whatever its size: `sortie_batch_cost_seconds` times 1,000
    #[arg(long)]
    a_ms: f64,
    /// Microseconds of a token: `sortie_token_cost_seconds` times 1,000,000
    #[arg(long)]
    b_us: f64,
    #[command(flatten)]
    work: WorkloadArgs,
    /// Clients that know nothing of each other
    #[arg(long, default_value_t = 4)]
    clients: usize,
}

impl CapacityArgs {
    /// The table of what was tried, and the answer in words.
    fn answer(&self, run_budget: RunBudget) -> Result<String, Wrong> {
        let demand = Workload {
            jobs_per_second: self.jobs_per_second,
            sizes: self.work.sizes(),
            cost: Cost { a_us: self.a_ms * 1e3, b_us: self.b_us },
            budget: self.work.budget,
            clients: self.clients,
            p99: self.p99,
            stalls: self.work.stalls(),
        };
        let found = study::capacity(&demand, run_budget)?;
        let p99 = humantime::format_duration(self.p99);
        let answer = match found.enough {
            Some(enough) => format!(
                "{enough} servers for {:.2} servers' worth of work and a p99 of {p99}; with one that is away, {}",
                found.worth,
                enough + 1
            ),
            None => format!(
                "no number up to {MOST_SERVERS} gives a p99 of {p99}: the load is {:.2} servers' worth of work, and a chunk alone takes {} ms and more",
                found.worth, self.a_ms
            ),
        };
        Ok(format!("{}\n\n{answer}", markdown(&HEADER, found.tried.values().map(row))))
    }
}

/// What every table stands for: a run that passes its budget ends in an error, see
/// [`study::StudyError::Overspent`].
const WITHIN_BUDGET: &str = "extra tokens within the budget in every cell";

/// What can go wrong: a study, or the drawing of it.
type Wrong = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match answer(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn answer(args: &Args) -> Result<(), Wrong> {
    let &Args { seeds, seconds, jobs, threads, .. } = args;
    let run_budget = RunBudget { seeds, seconds, jobs, threads };
    let began = Instant::now();
    let measured = match &args.study {
        &Study::Small { clients } => {
            let (table, missed) = study::small(clients, run_budget)?;
            println!("{table}");
            println!("\n{WITHIN_BUDGET}");
            println!("\nslower than 1.05 times the whole job: {}", if missed.is_empty() { "none" } else { "" });
            missed.iter().for_each(|cell| println!("- {cell}"));
            return Ok(());
        }
        Study::Overload(pressure) => {
            println!("{}", pressure.answer(run_budget)?);
            return Ok(());
        }
        Study::Capacity(load) => {
            println!("{}", load.answer(run_budget)?);
            return Ok(());
        }
        Study::Fleet(fleet) => study::every_way(&fleet.scenario(run_budget), run_budget)?,
        Study::Large => study::strategies(run_budget)?,
        Study::Vast => study::vast(run_budget)?,
        Study::Ablations => study::ablations(run_budget)?,
        Study::Sensitivity => study::sensitivity(run_budget)?,
        Study::Loads => study::loads(run_budget)?,
        Study::Clients => study::clients(run_budget)?,
        Study::LongTexts => study::long_texts(run_budget)?,
        Study::Faults => study::faults(run_budget)?,
    };
    println!("{}", markdown(&HEADER, measured.iter().map(row)));
    println!("\n{WITHIN_BUDGET}");
    if let Some(path) = &args.plot {
        draw(&args.study, &measured, path)?;
    }
    let events: u64 = measured.iter().map(|cell| cell.events).sum();
    let per_second = events as f64 / began.elapsed().as_secs_f64();
    eprintln!("{events} events, {per_second:.0} a second");
    Ok(())
}

fn draw(study: &Study, measured: &[Measured], path: &std::path::Path) -> Result<(), Wrong> {
    match study {
        Study::Loads => study::plot_loads(measured, path),
        _ => study::plot_tails(measured, path),
    }
}
