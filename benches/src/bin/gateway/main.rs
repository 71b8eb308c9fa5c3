//! `cargo xtask bench gateway`: what an HTTP caller gets of a fleet through the gateway, against the Rust client and
//! against what people put before servers otherwise.
//!
//! | module | part |
//! |---|---|
//! | `texts` | the jobs |
//! | `fleet` | four timed servers, the gateway and Envoy |
//! | `ways`, `post`, `split` | who asks them, and how |
//! | `pairs` | every way has the same jobs in turn |
//! | `saturation` | as many jobs as there is processor for |

#![forbid(unsafe_code)]

mod fleet;
mod pairs;
mod post;
mod saturation;
mod split;
mod texts;
mod ways;

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;
use sortie_benches::{
    envoy::Envoy,
    timed::{self, TimedDevice},
};
use xtask::cache::Cache;

use fleet::{SERVERS, ServedFleet};
use pairs::PairedRounds;
use split::SplitClient;
use texts::JobShape;
use ways::WayCallers;

/// How much slower the last server is in the second part.
const SLOWER: f64 = 4.0;

/// A device that does a large job's 100,000 tokens in an eighth of a second, in batches that a hedge can overtake.
const DEVICE: TimedDevice = TimedDevice { a_ms: 1.0, b_us: 1.0, noise: 0.1, max_batch: 4_096 };

/// One that is no hindrance, for what the processes themselves cost.
const QUICK: TimedDevice = TimedDevice { a_ms: 0.02, b_us: 0.001, noise: 0.0, max_batch: 262_144 };

/// Jobs of the second part have other texts.
const SECOND: u64 = 1_000_000;

/// One HTTP POST through a gateway against the Rust client, Envoy and a fixed split, over the same four servers
#[derive(Debug, clap::Parser)]
#[command(name = "cargo xtask bench gateway", bin_name = "cargo xtask bench gateway")]
struct Args {
    /// Seconds of rounds that count, once with equal servers and once with a slow one: each has about two rounds a second
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Seconds before that, in which clients learn what servers cost
    #[arg(long, default_value_t = 10)]
    warm_up: u64,
    /// Leave out Envoy and the fixed split: three times as many rounds a second
    #[arg(long)]
    gateway_only: bool,
    /// Seconds of each row of processor time
    #[arg(long, default_value_t = 15)]
    saturation_seconds: u64,
    #[command(flatten)]
    build: timed::Build,
}

fn main() -> ExitCode {
    let args = Args::parse();
    xtask::end(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.context("cannot start a runtime")?.block_on(run(&args))
    })
}

async fn run(args: &Args) -> anyhow::Result<()> {
    let programs = timed::build(&args.build)?;
    let gateway = timed::build_gateway(&args.build)?;
    let cache = Cache::open()?;
    let (mut envoy, mut split) = (None, None);
    if !args.gateway_only {
        let skipped = |rows, error: &anyhow::Error| eprintln!("SKIPPED: every row of {rows}: {error:#}");
        envoy = Envoy::find(&cache).inspect_err(|error| skipped("Envoy", error)).ok();
        split = SplitClient::find(&cache).inspect_err(|error| skipped("baseten-performance-client", error)).ok();
    }
    drop(cache);
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let start = |device: &TimedDevice, name| {
        ServedFleet::start((&programs, &gateway), envoy.as_ref(), device, name, scratch.path())
    };
    let (warm_up, counted) = (Duration::from_secs(args.warm_up), Duration::from_secs(args.seconds));
    let shape = JobShape::LARGE;

    println!(
        "\n{SERVERS} servers, {} ms a batch of at most {} tokens and {} µs a token; {shape}, one job at a time, every way in turn in a \
         random order; from texts to scores, JSON included; the fixed split has a chunk a server; {} s after {} s, {}.\n\n\
         | servers | way | answered | failed | p50 ms | p99 ms | p99.9 ms |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: |",
        DEVICE.a_ms, DEVICE.max_batch, DEVICE.b_us, args.seconds, args.warm_up, args.build
    );
    let fleet = start(&DEVICE, "paired")?;
    let mut callers = WayCallers::new(&fleet, split.as_ref(), shape).await?;
    let mut verdict = String::new();
    for (first, setting, factor) in
        [(0, "equal".to_owned(), 1.0), (SECOND, format!("one {SLOWER} times slower"), SLOWER)]
    {
        fleet.slow(factor)?;
        let rounds = PairedRounds::run(&mut callers, shape, first, (warm_up, counted)).await?;
        print!("{}", rounds.lines(&setting));
        eprint!("{}", rounds.failures());
        verdict += &rounds.verdict(&setting);
    }
    drop((callers, fleet));

    println!("\nAs many jobs as the processor has time for, over servers whose device takes next to none:\n");
    print!("{}", saturation::HEADER);
    let fleet = start(&QUICK, "quick")?;
    let window = (warm_up.min(Duration::from_secs(3)), Duration::from_secs(args.saturation_seconds));
    for shape in [JobShape::LARGE, JobShape::SMALL] {
        let at = (fleet.gateway(), fleet.gateway_pid()?);
        print!("{}", saturation::line("sortie-gateway", at, shape, window).await?);
        if let Some((proxy, pid)) = fleet.envoy.as_ref().and_then(|proxy| Some((proxy, proxy.pid()?))) {
            print!("{}", saturation::line("Envoy, one worker", (proxy.address, pid), shape, window).await?);
        }
    }
    println!("\n{verdict}");
    Ok(())
}
