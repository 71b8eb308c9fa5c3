//! `cargo xtask bench fleet`: four servers over timed devices, and what goes wrong with fleets.
//!
//! Every scenario has the same jobs. `quiet` is what the others are compared with; `stalls` is row 7 of the design's
//! figures, `straggler` row 7b. Jobs must not fail in any of them: capacity always remains.

#![forbid(unsafe_code)]

mod args;
mod names;
mod scenario;
mod verdict;

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser as _;
use sortie_benches::{
    jobs::Jobs,
    report,
    timed::{self, Programs, TimedDevice, TimedServer},
};
use sortie_lab::bench::StrategyRow;

use args::{Args, SERVERS};
use names::{NoNamespace, names};
use scenario::FaultScenario;
use verdict::{find, line, verdict};

/// A mid-sized encoder on a data-centre GPU, as the design's figures have it; a job is one batch.
const DEVICE: TimedDevice = TimedDevice { a_ms: 1.0, b_us: 0.46, noise: 0.0, max_batch: 32_768 };

/// How much slower the straggler is.
const STRAGGLER: f64 = 4.0;

/// Time a job has: hundreds of times what it needs, little enough that a lost one shows.
const DEADLINE: &str = "5s";

fn main() -> ExitCode {
    let args = Args::parse();
    xtask::end(|| run(&args))
}

/// Runs it and prints a Markdown table, then whether the rows of the design hold.
fn run(args: &Args) -> anyhow::Result<()> {
    let programs = timed::build(&args.build)?;
    let shape = TimedDevice { a_ms: DEVICE.a_ms * args.slower, b_us: DEVICE.b_us * args.slower, ..DEVICE };
    let rate = args.load * f64::from(SERVERS) * shape.capacity() / Jobs::LARGE.tokens();
    println!(
        "\n{SERVERS} servers over timed devices (a {} ms, b {} µs), {rate:.1} jobs/s of 200 documents and {:.0} tokens, load \
         {}, {} s in {} rounds for each strategy, {}\n",
        shape.a_ms,
        shape.b_us,
        Jobs::LARGE.tokens(),
        args.load,
        args.seconds,
        args.rounds,
        args.build
    );
    println!(
        "| scenario | strategy | jobs | failed | p50 ms | p99 ms | p99.9 ms | p99 ÷ quiet | p99.9 ÷ quiet | hedges % | \
         retries % | free retries % | client µs/job | sent late p99 ms |\n\
         | --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    let scenarios = if args.scenarios.is_empty() { &FaultScenario::ALL[..] } else { &args.scenarios };
    let mut all: Vec<(FaultScenario, StrategyRow)> = Vec::new();
    for &scenario in scenarios {
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        let rows = match one(scenario, args, &shape, rate, &programs, scratch.path()) {
            Ok(rows) => rows,
            Err(error) if error.is::<NoNamespace>() => {
                println!("| {} | {error} |", scenario.name());
                continue;
            }
            Err(error) => return Err(error.context(scenario.name())),
        };
        for row in rows {
            println!("{}", line(scenario, &row, find(&all, FaultScenario::Quiet, &row.strategy)));
            all.push((scenario, row));
        }
    }
    println!("\n{}", verdict(&all));
    Ok(())
}

/// One scenario.
fn one(
    scenario: FaultScenario,
    args: &Args,
    shape: &TimedDevice,
    rate: f64,
    programs: &Programs,
    scratch: &Path,
) -> anyhow::Result<Vec<StrategyRow>> {
    let mut arguments = vec!["--rate".to_owned(), rate.to_string()];
    arguments.extend(Jobs::LARGE.arguments());
    let more = format!(
        "--strategies {} --warm-up 3s --duration {}s --rounds {} --deadline {DEADLINE} --seed {}",
        scenario.strategies(),
        args.seconds,
        // A name's change is made once: another round would start with the addresses of the end.
        if scenario == FaultScenario::Dns { 1 } else { args.rounds },
        args.seed
    );
    arguments.extend(more.split(' ').map(str::to_owned));
    if scenario == FaultScenario::Dns {
        return names(args, shape, programs, scratch, arguments);
    }
    let start = |n: u8| TimedServer::start(programs, shape, &format!("server-{n}"), (Ipv4Addr::LOCALHOST, 0), scratch);
    let servers = (1..=SERVERS).map(start).collect::<anyhow::Result<Vec<_>>>()?;
    let mut endpoints: Vec<String> = servers.iter().map(|server| format!("http://{}", server.address)).collect();
    let hole = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    match (scenario, servers.first()) {
        (FaultScenario::Straggler, Some(first)) => first.slow(STRAGGLER)?,
        (FaultScenario::BlackHole, _) => {
            // The system accepts for it; nobody ever reads.
            let address = hole.local_addr().context("a listener has no address")?;
            endpoints.push(format!("http://{address}"));
        }
        _ => {}
    }
    let each_round = args.seconds / u64::from(args.rounds);
    for fault in scenario.faults(&servers, each_round) {
        arguments.extend(["--fault".to_owned(), fault.to_string()]);
    }
    arguments.extend(["--endpoint".to_owned(), endpoints.join(",")]);
    Ok(report::bench(&programs.sortie, &arguments)?.results)
}
