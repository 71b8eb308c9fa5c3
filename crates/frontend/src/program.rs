//! The body of a program's `main`: from its command line to its exit code.

use std::{future::Future, io::Write as _, process::ExitCode, time::Duration};

use anyhow::Context as _;
use tokio::sync::oneshot;

use crate::{
    config::{ConfigError, FrontendConfig, Invocation, Settings},
    logs,
    signals::Signals,
};

/// Exit code after a second stop signal: as a shell reports SIGINT.
const INTERRUPTED: u8 = 130;

/// Exit code of a command line or configuration that makes no sense, as clap has it.
pub const USAGE: u8 = 2;

/// Exit code of a process that was asked to stop and did.
const SUCCESS: u8 = 0;

/// Exit code of a process that could not start or go on.
const FAILURE: u8 = 1;

/// How long threads that still compute are waited for at the end.
const LAST_WAIT: Duration = Duration::from_millis(200);

/// Resolves when a stop is asked for.
pub type StopSignal = futures::future::BoxFuture<'static, ()>;

/// Serves with the settings that a command line came to until a stop signal; prints what was asked for.
///
/// It leaves without the exit handlers of libraries: those of ONNX Runtime and CUDA take down what a thread that is
/// still loading a model or running a batch works with, and the process would end by a fault instead of its code.
pub fn main<S, E, F>(
    invocation: Result<Invocation<S>, ConfigError>,
    frontend: impl Fn(&S) -> &FrontendConfig,
    serve: impl FnOnce(S, StopSignal) -> F,
) -> ExitCode
where
    S: Settings,
    E: Into<anyhow::Error>,
    F: Future<Output = Result<(), E>>,
{
    match invocation {
        Ok(Invocation::Print(text)) => match writeln!(std::io::stdout(), "{}", text.trim_end()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Ok(Invocation::Serve(settings)) => {
            let code = served(&frontend(&settings).clone(), S::PROGRAM, |stopped| serve(*settings, stopped));
            // What cannot be written now never will be.
            let _ = std::io::stdout().flush();
            signal_hook::low_level::exit(i32::from(code))
        }
        Err(ConfigError::Command(e)) => {
            eprint!("{e}");
            ExitCode::from(USAGE)
        }
        Err(e) => {
            eprintln!("{}: {:#}", S::PROGRAM, anyhow::Error::from(e));
            ExitCode::from(USAGE)
        }
    }
}

fn served<E, F>(config: &FrontendConfig, program: &str, serve: impl FnOnce(StopSignal) -> F) -> u8
where
    E: Into<anyhow::Error>,
    F: Future<Output = Result<(), E>>,
{
    let served = (|| {
        logs::init(config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start tokio")?;
        let code = runtime.block_on(until_stopped(serve));
        runtime.shutdown_timeout(LAST_WAIT);
        code
    })();
    served.unwrap_or_else(|e: anyhow::Error| {
        eprintln!("{program}: {e:#}");
        FAILURE
    })
}

async fn until_stopped<E, F>(serve: impl FnOnce(StopSignal) -> F) -> anyhow::Result<u8>
where
    E: Into<anyhow::Error>,
    F: Future<Output = Result<(), E>>,
{
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = serve(Box::pin(async {
        let _ = stopped.await;
    }));
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.map(|()| SUCCESS).map_err(Into::into),
        name = signals.next() => tracing::info!("{name}: stopping; once more to stop at once"),
    }
    let _ = stop.send(());
    tokio::select! {
        ended = serving => ended.map(|()| SUCCESS).map_err(Into::into),
        name = signals.next() => {
            tracing::warn!("{name} again: stopped at once");
            Ok(INTERRUPTED)
        }
    }
}
