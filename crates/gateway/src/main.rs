//! `sortie-gateway`: one door to a fleet of Sortie servers. See `--help`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use sortie_frontend::{config, program};
use sortie_gateway::GatewayConfig;

/// As in the server: a job is thousands of small pieces of memory, made on one thread and freed on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub(crate) fn main() -> ExitCode {
    program::main(config::read(std::env::args_os()), |config: &GatewayConfig| &config.frontend, sortie_gateway::run)
}
