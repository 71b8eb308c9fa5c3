//! `sortie-server`: serves encoder models over gRPC. See `--help`.

#![forbid(unsafe_code)]

use std::{ffi::OsString, io::Write as _, process::ExitCode};

use sortie_frontend::{
    config::{ConfigError, Invocation},
    program,
};
use sortie_server::{
    ServerConfig, config, doctor, inspect,
    tei::{self, TeiInvocation},
};

/// A request of 200 texts is thousands of small pieces of memory, made on one thread and freed on another, which is
/// what the system's allocator is slow at: with this one a job on an idle GPU server takes 0.4 ms less of 7.5.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub(crate) fn main() -> ExitCode {
    let mut line = std::env::args_os();
    match line.nth(1) {
        Some(first) if first == "doctor" => return examine(line),
        Some(first) if first == "inspect" => return describe(line),
        Some(first) if first == "tei" => return serve_as_tei(line),
        _ => {}
    }
    serve(config::read(std::env::args_os()))
}

/// `sortie-server tei …`.
fn serve_as_tei(rest: impl Iterator<Item = OsString>) -> ExitCode {
    match tei::read(rest) {
        Ok(TeiInvocation::Here(invocation)) => serve(invocation),
        Ok(TeiInvocation::Again(code)) => code,
        Err(e) => usage(&e),
    }
}

/// Serves, or prints what was asked for.
fn serve(invocation: Result<Invocation<ServerConfig>, ConfigError>) -> ExitCode {
    program::main(invocation, |config: &ServerConfig| &config.frontend, sortie_server::run)
}

/// `sortie-server doctor …`.
fn examine(rest: impl Iterator<Item = OsString>) -> ExitCode {
    let found = match doctor::args(rest) {
        Ok(args) => doctor::examine(&args),
        Err(e) => return usage(&e),
    };
    match found {
        Ok(found) => match writeln!(std::io::stdout(), "{}", found.text.trim_end()) {
            Ok(()) if found.well => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        },
        Err(e) => {
            eprintln!("sortie-server: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// `sortie-server inspect …`.
fn describe(rest: impl Iterator<Item = OsString>) -> ExitCode {
    let said = match inspect::args(rest) {
        Ok(args) => inspect::describe(&args),
        Err(e) => return usage(&e),
    };
    match said {
        Ok(text) => match writeln!(std::io::stdout(), "{}", text.trim_end()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(e) => {
            eprintln!("sortie-server: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Help and version are no errors: clap knows which stream and code are due.
fn usage(e: &clap::Error) -> ExitCode {
    let _ = e.print();
    ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(program::USAGE))
}
