//! `cargo xtask bench`: benchmarks whose ratios are taken in one run on one machine.
//!
//! `cpu` and `gpu` measure the engine. `overload` and `fleet` measure real server processes over a device that only
//! sleeps (`sortie-server-timed`), so that the cores of this machine do not decide, under `sortie bench`.

mod cpu;
mod fleet;
mod jobs;
pub(crate) mod loader;
mod overload;
mod respawner;
mod samples;
mod timed;

/// `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    which: Which,
}

#[derive(Debug, clap::Subcommand)]
enum Which {
    /// 200 pairs of mixed lengths on the CPU, against padded ONNX Runtime from Python
    Cpu(cpu::Args),
    /// The engine and a server on a GPU: parity, speed, serving, memory; `--help` after `--` lists what it takes
    Gpu {
        /// Passed on; without any, `all`
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Servers at 0.8 to 8 times what they can do, asked by our client and by others'
    Overload(overload::Args),
    /// Four servers, of which some stall, die, restart or are slow
    Fleet(fleet::Args),
}

/// Runs one.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.which {
        Which::Cpu(args) => cpu::run(args),
        Which::Gpu { args } => crate::gpu::run(args),
        Which::Overload(args) => overload::run(args),
        Which::Fleet(args) => fleet::run(args),
    }
}
