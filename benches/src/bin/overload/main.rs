//! `cargo xtask bench overload`: servers that are offered more than they can do, by our client and by others'.
//!
//! | module | part |
//! |---|---|
//! | `device` | what is put under load, and what it can do |
//! | `bodies` | the jobs, the same for every generator |
//! | `load` | what is offered, and what becomes of it |
//! | `generator`, `ghz`, `grpcio`, `rivals` | who offers it |
//! | `pin` | cores of servers and of generators |
//! | `row`, `mixed_clients` | what came of it |
//! | `verdict` | what it should show, and does |
//! | `soak` | ten minutes of it: nothing grows |
//!
//! Capacity of a timed device is that of full batches, `max_batch / (a + b·max_batch)`; of the real model what it does
//! of a burst.

#![forbid(unsafe_code)]

mod bodies;
mod device;
mod generator;
mod ghz;
mod grpcio;
mod load;
mod mixed_clients;
mod pin;
mod rivals;
mod row;
mod soak;
mod verdict;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::Context as _;

use clap::Parser as _;
use sortie_benches::{samples::Sampler, server_counters::ServerCounters, timed};

use device::{BenchDevice, BenchFleet};
use load::{LoadGenerator, LoadSpec};
use mixed_clients::{MixedClients, Recovery};
use pin::Pins;
use rivals::Rivals;
use row::{LoadAsked, LoadRow};

/// Loads at which ours run beside foreign retriers.
const BESIDE: [f64; 3] = [1.2, 2.0, 4.0];

/// Between two runs: queues are empty, connections of a client that is gone are closed, and servers' figures are those
/// of rest.
const SETTLE: Duration = Duration::from_millis(1_000);

/// Servers at 0.8 to 8 times what they can do, asked by our client and by others'.
#[derive(Debug, clap::Parser)]
#[command(name = "cargo xtask bench overload", bin_name = "cargo xtask bench overload")]
struct Args {
    /// What is put under load
    #[arg(long, value_enum, value_delimiter = ',', default_value = "fast,slow,model")]
    devices: Vec<BenchDevice>,
    /// Servers before timed devices; the real model has one
    #[arg(long, value_delimiter = ',', default_value = "1,4")]
    servers: Vec<usize>,
    /// Who offers the load
    #[arg(long, value_enum, value_delimiter = ',', default_value = "sortie,whole,ghz,grpcio")]
    by: Vec<LoadGenerator>,
    /// Jobs offered over what the servers can do
    #[arg(long, value_delimiter = ',', default_value = "0.8,1,1.2,2,4,8")]
    loads: Vec<f64>,
    /// Seconds of a row that count; on the fast device, which does many more jobs in them, six tenths of it
    #[arg(long, default_value_t = 9.0)]
    seconds: f64,
    /// Seconds of a row before that
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Leave out the rows beside foreign retriers and after a flood of them
    #[arg(long)]
    no_further: bool,
    /// Leave out the table, only the further rows
    #[arg(long, conflicts_with = "no_further")]
    only_further: bool,
    /// Where arrivals begin
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Take this ghz instead of building one with `go`
    #[arg(long, value_name = "PATH")]
    ghz: Option<PathBuf>,
    /// Write every figure into this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Instead of all this: one server, 1.5 times what it can do, 30% of jobs given up, for ten minutes (or --seconds,
    /// if that is more)
    #[arg(long)]
    soak: bool,
    #[command(flatten)]
    build: timed::Build,
}

/// Everything that was measured.
#[derive(Debug, Default, serde::Serialize)]
struct Figures {
    rows: Vec<LoadRow>,
    mixed_clients: Vec<MixedClients>,
    recovery: Vec<Recovery>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    xtask::end(|| run(&args))
}

/// Runs it and prints Markdown tables and a verdict.
fn run(args: &Args) -> anyhow::Result<()> {
    let programs = timed::build(&args.build)?;
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    if args.soak {
        return soak::run(&programs, &device::FAST, args.seconds as u64, scratch.path());
    }
    let further = !args.no_further;
    let wants = |by| args.by.contains(&by);
    let rivals =
        Rivals::find(args.ghz.as_deref(), (wants(LoadGenerator::Ghz), wants(LoadGenerator::Grpcio) || further))?;
    let bench = Bench { args, programs, pins: Pins::halves(), rivals, scratch: scratch.path() };
    println!(
        "\n{}; servers on {}, generators on {}; {} s a row after {} s, seed {}. Jobs of 4 documents, Poisson arrivals, but ghz's \
         come evenly.\n\n{}",
        args.build,
        bench.pins.servers,
        bench.pins.load,
        args.seconds,
        args.warm_up,
        args.seed,
        row::HEADER
    );
    let mut figures = Figures::default();
    let done = bench.all(&mut figures);
    // What was measured before something went wrong is worth having.
    println!("{}", mixed_clients::tables(&figures.mixed_clients, &figures.recovery)?);
    println!("{}", processors(&figures.rows));
    println!("{}", verdict::verdict(&figures.rows, &figures.mixed_clients, &figures.recovery));
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&figures)?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    done
}

/// What all runs have.
struct Bench<'a> {
    args: &'a Args,
    programs: timed::Programs,
    pins: Pins,
    rivals: Rivals,
    scratch: &'a Path,
}

impl Bench<'_> {
    fn all(&self, figures: &mut Figures) -> anyhow::Result<()> {
        for &device in &self.args.devices {
            let counts = if device.is_timed() { self.args.servers.as_slice() } else { &[1] };
            for &count in counts {
                let fleet = BenchFleet::start(device, count, &self.programs, &self.pins, self.scratch)?;
                eprintln!(
                    "{}, {count} servers: {:.1} jobs/s of {:.0} tokens, deadline {:?}",
                    device.name(),
                    fleet.capacity,
                    fleet.bodies.tokens,
                    device.deadline()
                );
                thread::sleep(SETTLE);
                if !self.args.only_further {
                    self.rows(&fleet, figures)?;
                }
                if !self.args.no_further && self.rivals.grpcio.is_some() {
                    self.further(&fleet, figures)?;
                }
            }
        }
        Ok(())
    }

    fn rows(&self, fleet: &BenchFleet, figures: &mut Figures) -> anyhow::Result<()> {
        for &by in &self.args.by {
            if (by == LoadGenerator::Ghz && self.rivals.ghz.is_none())
                || (by == LoadGenerator::Grpcio && self.rivals.grpcio.is_none())
            {
                continue;
            }
            for &load in &self.args.loads {
                let row = self.row(fleet, by, load)?;
                println!("{}", row.line());
                figures.rows.push(row);
            }
        }
        Ok(())
    }

    fn spec<'a>(&'a self, fleet: &'a BenchFleet, by: LoadGenerator, phases: Vec<(f64, f64)>) -> LoadSpec<'a> {
        LoadSpec {
            by,
            addresses: fleet.addresses(),
            bodies: &fleet.bodies,
            phases,
            deadline: fleet.device.deadline(),
            tenant: None,
            seed: self.args.seed,
            programs: &self.programs,
            pins: &self.pins,
            scratch: self.scratch,
            rivals: Some(&self.rivals),
        }
    }

    /// Seconds before jobs count, and in which they do.
    fn window(&self, fleet: &BenchFleet) -> (f64, f64) {
        let share = if fleet.device == BenchDevice::Fast { 0.6 } else { 1.0 };
        (self.args.warm_up, self.args.seconds * share)
    }

    fn row(&self, fleet: &BenchFleet, by: LoadGenerator, load: f64) -> anyhow::Result<LoadRow> {
        let (warm, seconds) = self.window(fleet);
        let deadline = fleet.device.deadline();
        let total = warm + seconds + deadline.as_secs_f64();
        let admins = fleet.admins()?;
        let before = ServerCounters::ask(&admins)?;
        let samplers: Vec<Sampler> =
            fleet.servers.iter().filter_map(timed::TimedServer::pid).map(Sampler::start).collect();
        let result = generator::run(&self.spec(fleet, by, vec![(load * fleet.capacity, total)]))?;
        let memory = samplers.into_iter().map(|s| s.finish().most(|s| s.memory)).fold(f64::NAN, f64::max);
        thread::sleep(SETTLE);
        let counters = ServerCounters::ask(&admins)?.since(before);
        let asked = LoadAsked {
            device: fleet.device.name(),
            timed: fleet.device.is_timed(),
            servers: fleet.servers.len(),
            by,
            load,
            capacity: fleet.capacity,
            deadline,
            window: (warm, seconds),
        };
        Ok(LoadRow::new(&asked, result, counters, memory))
    }

    fn further(&self, fleet: &BenchFleet, figures: &mut Figures) -> anyhow::Result<()> {
        let base = self.spec(fleet, LoadGenerator::Sortie, Vec::new());
        for load in BESIDE {
            figures.mixed_clients.push(mixed_clients::mixed_clients(fleet, &base, load, self.window(fleet))?);
            thread::sleep(SETTLE);
        }
        if fleet.servers.len() == 1 {
            figures.recovery.push(mixed_clients::recovery(fleet, &base)?);
            thread::sleep(SETTLE);
        }
        Ok(())
    }
}

/// Processor time of a job of ours and of a whole one by how it ended.
fn processors(rows: &[LoadRow]) -> String {
    let mut text =
        "Generator's processor a job, by regression over the loads of a row's group (answered, not answered):\n"
            .to_owned();
    let mut seen: Vec<(&str, usize, &str)> = Vec::new();
    for row in rows {
        let key = (row.device, row.servers, row.by);
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let group: Vec<&LoadRow> = rows.iter().filter(|row| (row.device, row.servers, row.by) == key).collect();
        if let Some((answered, other)) = row::processor(&group) {
            text += &format!("\n- {}, N {}, {}: {answered:.2} ms, {other:.2} ms", key.0, key.1, key.2);
        }
    }
    text + "\n"
}
