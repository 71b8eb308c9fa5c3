//! `sortie-server`: serves encoder models over gRPC. See `--help`.

#![forbid(unsafe_code)]

use std::{ffi::OsString, io::Write as _, process::ExitCode, time::Duration};

use anyhow::Context as _;
use sortie_server::{
    ServerConfig, Signals,
    config::{self, Invocation, ServerConfigError},
    doctor, inspect,
};

/// A request of 200 texts is thousands of small pieces of memory, made on one thread and freed on another, which is
/// what the system's allocator is slow at: with this one a job on an idle GPU server takes 0.4 ms less of 7.5.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code after a second stop signal: as a shell reports SIGINT.
const INTERRUPTED: u8 = 130;

/// Exit code of a command line or configuration that makes no sense, as clap has it.
const USAGE: u8 = 2;

/// Exit code of a server that was asked to stop and did.
const SUCCESS: u8 = 0;

/// Exit code of a server that could not start or go on.
const FAILURE: u8 = 1;

/// How long threads that still compute are waited for at the end.
const LAST_WAIT: Duration = Duration::from_millis(200);

pub(crate) fn main() -> ExitCode {
    let mut line = std::env::args_os();
    match line.nth(1) {
        Some(first) if first == "doctor" => return examine(line),
        Some(first) if first == "inspect" => return describe(line),
        _ => {}
    }
    match config::read(std::env::args_os()) {
        Ok(Invocation::Print(text)) => match writeln!(std::io::stdout(), "{}", text.trim_end()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Ok(Invocation::Serve(config)) => start(*config),
        Err(ServerConfigError::Command(e)) => {
            eprint!("{e}");
            ExitCode::from(USAGE)
        }
        Err(e) => {
            eprintln!("sortie-server: {:#}", anyhow::Error::from(e));
            ExitCode::from(USAGE)
        }
    }
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
    ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(USAGE))
}

/// Serves, and leaves without the exit handlers of libraries: those of ONNX Runtime and CUDA take down what a thread
/// that is still loading a model or running a batch works with, and the process would end by a fault instead of its
/// code.
fn start(config: ServerConfig) -> ExitCode {
    let code = served(config);
    // What cannot be written now never will be.
    let _ = std::io::stdout().flush();
    signal_hook::low_level::exit(i32::from(code))
}

fn served(config: ServerConfig) -> u8 {
    let served = (|| {
        sortie_server::init_logs(&config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start tokio")?;
        let code = runtime.block_on(until_stopped(config));
        runtime.shutdown_timeout(LAST_WAIT);
        code
    })();
    served.unwrap_or_else(|e: anyhow::Error| {
        eprintln!("sortie-server: {e:#}");
        FAILURE
    })
}

async fn until_stopped(config: ServerConfig) -> anyhow::Result<u8> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = sortie_server::run(config, async {
        let _ = stopped.await;
    });
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return Ok(ended.map(|()| SUCCESS)?),
        name = signals.next() => tracing::info!("{name}: stopping; once more to stop at once"),
    }
    let _ = stop.send(());
    tokio::select! {
        ended = server => Ok(ended.map(|()| SUCCESS)?),
        name = signals.next() => {
            tracing::warn!("{name} again: stopped at once");
            Ok(INTERRUPTED)
        }
    }
}
