//! `sortie-server`: serves encoder models over gRPC. See `--help`.

#![forbid(unsafe_code)]

use std::{io::Write as _, process::ExitCode, time::Duration};

use anyhow::Context as _;
use sortie_server::{
    Config, Signals,
    config::{self, ConfigError, Invocation},
};

/// Exit code after a second stop signal: as a shell reports SIGINT.
const INTERRUPTED: u8 = 130;

/// Exit code of a command line or configuration that makes no sense, as clap has it.
const USAGE: u8 = 2;

/// How long threads that still compute are waited for at the end.
const LAST_WAIT: Duration = Duration::from_millis(200);

pub(crate) fn main() -> ExitCode {
    match config::read(std::env::args_os()) {
        Ok(Invocation::Print(text)) => match writeln!(std::io::stdout(), "{}", text.trim_end()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Ok(Invocation::Serve(config)) => start(*config),
        Err(ConfigError::Command(e)) => {
            eprint!("{e}");
            ExitCode::from(USAGE)
        }
        Err(e) => {
            eprintln!("sortie-server: {:#}", anyhow::Error::from(e));
            ExitCode::from(USAGE)
        }
    }
}

fn start(config: Config) -> ExitCode {
    let served = (|| {
        sortie_server::init_logs(&config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start tokio")?;
        let code = runtime.block_on(until_stopped(config));
        runtime.shutdown_timeout(LAST_WAIT);
        code
    })();
    served.unwrap_or_else(|e: anyhow::Error| {
        eprintln!("sortie-server: {e:#}");
        ExitCode::FAILURE
    })
}

async fn until_stopped(config: Config) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = sortie_server::run(config, async {
        let _ = stopped.await;
    });
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return Ok(ended.map(|()| ExitCode::SUCCESS)?),
        name = signals.next() => tracing::info!("{name}: stopping; once more to stop at once"),
    }
    let _ = stop.send(());
    tokio::select! {
        ended = server => Ok(ended.map(|()| ExitCode::SUCCESS)?),
        name = signals.next() => {
            tracing::warn!("{name} again: stopped at once");
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}
