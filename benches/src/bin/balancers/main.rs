//! `cargo xtask bench balancers`: two servers, one of them four times slower, behind balancers that are not ours.
//!
//! | module | part |
//! |---|---|
//! | `load` | a generator over grpc-go, with its balancers |
//! | `request` | what is asked |
//!
//! Each row offers the same requests at the same even pace. What a server got is counted by its own metrics.

#![forbid(unsafe_code)]

mod load;
mod request;

use std::{fmt, net::Ipv4Addr, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;
use sortie_benches::{
    envoy::{Envoy, EnvoyPolicy, EnvoyWire},
    server_counters::ServerCounters,
    timed::{self, TimedDevice, TimedServer},
};
use xtask::cache::Cache;

use load::{GrpcGenerator, GrpcPolicy, Offered};

/// How much slower the second server is.
const SLOWER: f64 = 4.0;

/// A device that two cores serve easily: 50 µs a token, so that a request takes 10 ms and a loaded one a batch of several.
const DEVICE: TimedDevice = TimedDevice { a_ms: 1.0, b_us: 50.0, noise: 0.1, max_batch: 2_048 };

/// Tokens of a request.
const TOKENS: u64 = 200;

/// Share of both servers' work that is offered: more than half of it goes beyond what the slow one can do.
const LOAD: f64 = 0.6;

/// Share of the calls that the fast server should get at least: four fifths are its part of what both can do.
const LEAST_SHARE: f64 = 0.7;

/// Two servers, one four times slower, behind gRPC's own balancers and Envoy's
#[derive(Debug, clap::Parser)]
#[command(name = "cargo xtask bench balancers", bin_name = "cargo xtask bench balancers")]
struct Args {
    /// Seconds of a row that count
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Seconds of a row before that: balancers wait for reports, and weigh anew every half second
    #[arg(long, default_value_t = 8)]
    warm_up: u64,
    #[command(flatten)]
    build: timed::Build,
}

/// Who balances.
#[derive(Clone, Copy, Debug)]
enum Balancer {
    Grpc(GrpcPolicy),
    Envoy(EnvoyPolicy),
}

impl fmt::Display for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpc(GrpcPolicy::RoundRobin) => "grpc-go, round_robin",
            Self::Grpc(GrpcPolicy::WeightedByTrailers) => "grpc-go, weighted_round_robin, trailers",
            Self::Grpc(GrpcPolicy::WeightedByStream) => "grpc-go, weighted_round_robin, OpenRcaService",
            Self::Envoy(EnvoyPolicy::RoundRobin) => "Envoy, round_robin",
            Self::Envoy(EnvoyPolicy::LeastRequest) => "Envoy, least_request",
            Self::Envoy(EnvoyPolicy::Weighted) => "Envoy, client_side_weighted_round_robin",
        })
    }
}

/// Each in turn; those that read reports come after the one of their kind that does not.
const BALANCERS: [(Balancer, bool); 6] = [
    (Balancer::Grpc(GrpcPolicy::RoundRobin), false),
    (Balancer::Grpc(GrpcPolicy::WeightedByTrailers), true),
    (Balancer::Grpc(GrpcPolicy::WeightedByStream), true),
    (Balancer::Envoy(EnvoyPolicy::RoundRobin), false),
    (Balancer::Envoy(EnvoyPolicy::LeastRequest), false),
    (Balancer::Envoy(EnvoyPolicy::Weighted), true),
];

fn main() -> ExitCode {
    let args = Args::parse();
    xtask::end(|| run(&args))
}

fn run(args: &Args) -> anyhow::Result<()> {
    let programs = timed::build(&args.build)?;
    let cache = Cache::open()?;
    let generator = GrpcGenerator::build(&cache)?;
    let envoy = Envoy::find(&cache).inspect_err(|error| eprintln!("SKIPPED: every row of Envoy: {error:#}")).ok();
    drop(cache);
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let body = request::write(TOKENS, scratch.path())?;
    let capacity = DEVICE.capacity() * (1.0 + 1.0 / SLOWER);
    let rate = LOAD * capacity / TOKENS as f64;
    println!(
        "\nTwo servers, {} µs a token and {SLOWER} times that; {rate:.0} requests of {TOKENS} tokens a second at an even pace, load \
         {LOAD}; {} s a row after {} s, {}.\n\n\
         | balancer | calls to the fast server | calls to the slow one | share of the fast one | answered | failed | p50 ms | p99 ms |\n\
         | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |",
        DEVICE.b_us, args.seconds, args.warm_up, args.build
    );
    let mut missed = Vec::new();
    for (n, (balancer, weighs)) in BALANCERS.into_iter().enumerate() {
        if matches!(balancer, Balancer::Envoy(_)) && envoy.is_none() {
            continue;
        }
        // New servers for every row: none begins with what another left in a queue.
        let start = |name: &str| {
            TimedServer::start(&programs, &DEVICE, &format!("{name}{n}"), (Ipv4Addr::LOCALHOST, 0), scratch.path())
        };
        let servers = [start("fast")?, start("slow")?];
        servers[1].slow(SLOWER)?;
        let addresses = servers.each_ref().map(|server| server.address);
        let offered = |addresses: &[_], policy| Offered {
            addresses: addresses.to_vec(),
            policy,
            body: &body,
            rate,
            warm_up: Duration::from_secs(args.warm_up),
            counted: Duration::from_secs(args.seconds),
        };
        let found = match (balancer, &envoy) {
            (Balancer::Grpc(policy), _) => generator.run(&offered(&addresses, policy))?,
            (Balancer::Envoy(policy), Some(envoy)) => {
                let proxy = envoy.start(policy, EnvoyWire::Http2, &addresses, scratch.path())?;
                generator.run(&offered(&[proxy.address], GrpcPolicy::RoundRobin))?
            }
            (Balancer::Envoy(_), None) => continue,
        };
        let mut calls = [0.0; 2];
        for (server, calls) in servers.iter().zip(&mut calls) {
            *calls = ServerCounters::ask(&[server.admin()?])?.calls;
        }
        let share = calls[0] / (calls[0] + calls[1]).max(1.0);
        println!(
            "| {balancer} | {} | {} | {:.1}% | {} | {} | {:.1} | {:.1} |",
            calls[0],
            calls[1],
            100.0 * share,
            found.answered(),
            found.failures(),
            found.p50_ms,
            found.p99_ms
        );
        if weighs && share < LEAST_SHARE {
            missed.push(format!("{balancer} sent {:.1}% of its calls to the fast server", 100.0 * share));
        }
    }
    println!("\nCalls are those of the whole row, warm-up included.");
    anyhow::ensure!(missed.is_empty(), "at least {:.0}% are expected: {}", 100.0 * LEAST_SHARE, missed.join("; "));
    Ok(())
}
