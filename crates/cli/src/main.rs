//! `sortie`: the command-line tool for fleets of sortie servers.
//!
//! `args` (what was asked) → `read` (the texts) → `context`, `split` and
//! `collect` (jobs through the client library) → `report` and `screen` (what is
//! printed) → `exit` (how it ended).

#![forbid(unsafe_code)]

mod args;
mod collect;
mod context;
mod exit;
mod failure;
mod npy;
mod read;
mod report;
mod run;
mod screen;
mod split;

use std::{io, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _};
use tracing_subscriber::EnvFilter;

use crate::{args::SortieArgs, context::CommandContext, exit::Exit};

fn main() -> ExitCode {
    let matches = args::unset_blank(SortieArgs::command()).get_matches();
    let line = match SortieArgs::from_arg_matches(&matches) {
        Ok(line) => line,
        Err(e) => e.exit(),
    };
    log(line.output.verbose);
    let ended =
        CommandContext::new(&line.connection, line.output).and_then(|context| run::run(&line.command, &context));
    let exit = ended.unwrap_or_else(|failure| {
        if failure.exit != Exit::Interrupted {
            run::error(&failure);
        }
        failure.exit
    });
    exit.into()
}

/// Logs to standard error, if asked to.
fn log(verbosity: u8) {
    let filter = match verbosity {
        0 => return,
        1 => "sortie_client=debug,sortie_dispatch=debug",
        _ => "sortie_client=trace,sortie_dispatch=trace,tonic=debug,h2=info,hyper=info",
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(screen::colours_welcome(&io::stderr()))
        .with_writer(io::stderr);
    // Only one subscriber is ever set, here.
    let _ = subscriber.try_init();
}
