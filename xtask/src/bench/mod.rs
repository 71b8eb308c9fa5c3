//! `cargo xtask bench`: benchmarks whose ratios are taken in one run on one machine.
//!
//! `cpu` and `gpu` measure the engine. `overload`, `balancers`, `gateway` and `fleet` measure real server processes over
//! a device that only sleeps (`sortie-server-timed`), so that the cores of this machine do not decide; they are programs
//! of `benches/`.

mod cpu;

use std::process::Command;

use crate::{process, workspace};

/// `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    which: BenchCommand,
}

#[derive(Debug, clap::Subcommand)]
enum BenchCommand {
    /// 200 pairs of mixed lengths on the CPU, against padded ONNX Runtime from Python
    Cpu(cpu::Args),
    /// The engine and a server on a GPU: parity, speed, serving, memory; `--help` after `--` lists what it takes
    Gpu {
        /// Passed on; without any, `all`
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Servers at 0.8 to 8 times what they can do, asked by our client and by others'
    #[command(disable_help_flag = true)]
    Overload(Passed),
    /// Two servers, one four times slower, behind gRPC's own balancer and Envoy's, which read our load reports
    #[command(disable_help_flag = true)]
    Balancers(Passed),
    /// One HTTP POST through a gateway against the Rust client, Envoy and a fixed split, over the same four servers
    #[command(disable_help_flag = true)]
    Gateway(Passed),
    /// Four servers, of which some stall, die, restart or are slow
    #[command(disable_help_flag = true)]
    Fleet(Passed),
}

/// Flags of a program, `--help` included.
#[derive(Debug, clap::Args)]
pub(crate) struct Passed {
    /// Passed on
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
}

/// Runs one.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.which {
        BenchCommand::Cpu(args) => cpu::run(args),
        BenchCommand::Gpu { args } => crate::gpu::run(args),
        BenchCommand::Overload(passed) => program("overload", &passed.args),
        BenchCommand::Balancers(passed) => program("balancers", &passed.args),
        BenchCommand::Gateway(passed) => program("gateway", &passed.args),
        BenchCommand::Fleet(passed) => program("fleet", &passed.args),
    }
}

/// Builds a program of `benches/` and runs it.
pub(crate) fn program(name: &str, args: &[String]) -> anyhow::Result<()> {
    let build = ["build", "--release", "-p", "sortie-benches", "--bin", name];
    process::run(workspace::cargo().args(build), "cargo build")?;
    process::run(Command::new(workspace::target()?.join("release").join(name)).args(args), name)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn flags_of_programs_are_passed_on() {
        for flags in [&["--help"][..], &["--devices", "fast", "--soak"], &[]] {
            let cli = Cli::try_parse_from(["x", "overload"].iter().chain(flags)).unwrap();
            assert!(matches!(&cli.args.which, BenchCommand::Overload(passed) if passed.args == flags), "{cli:?}");
        }
    }
}
