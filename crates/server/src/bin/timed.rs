//! `sortie-server-timed`: the server with models that only sleep, for tests and benchmarks.

#[path = "../main.rs"]
mod program;

use std::process::ExitCode;

fn main() -> ExitCode {
    program::main()
}
