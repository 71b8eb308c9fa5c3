//! `sortie bench`: the load generator of [`sortie_lab`] on the fleet that every other command asks.

use std::{fs, path::Path};

use sortie_lab::bench::{BenchArgs, BenchError, BenchTarget, LoadTest};

use super::print;
use crate::{
    context::CommandContext,
    exit::{CommandFailure, Exit},
};

/// Runs the benchmark, prints it and draws it.
pub(super) fn bench(args: &BenchArgs, context: &CommandContext) -> Result<Exit, CommandFailure> {
    let test = LoadTest::new(args)?;
    let connection = &context.connection;
    let target = BenchTarget {
        client: context.builder(),
        endpoints: context.endpoints().map(str::to_owned).collect(),
        model: connection.model.clone(),
        deadline: connection.deadline,
        lane: connection.lane.into(),
        tenant: connection.tenant.clone(),
        token: context.token()?,
    };
    let report = context.run(async { Ok(test.run(&target, &|what| context.say(what)).await?) })?;
    if let Some(path) = &args.plot {
        report.draw(path)?;
    }
    if let Some(path) = &args.results {
        report.append(path)?;
    }
    let write = |flag: &str, path: &Path, text: String| {
        fs::write(path, text)
            .map_err(|error| CommandFailure::new(Exit::Internal, format!("{flag} {}: {error}", path.display())))
    };
    if let Some(path) = &args.markdown {
        write("--markdown", path, report.markdown())?;
    }
    if let Some(path) = &args.html {
        write("--html", path, report.html()?)?;
    }
    print(&report, &context.output)
}

impl From<BenchError> for CommandFailure {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Client(error) => error.into(),
            BenchError::Usage(message) => Self::usage(message),
            other => Self::new(Exit::Internal, other.to_string()),
        }
    }
}
