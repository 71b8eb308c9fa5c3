//! Printing: the answer to standard output, failed items to standard error.
//!
//! Invariant: a reader that goes away (a broken pipe) ends the tool quietly.

use std::{
    fmt::Display,
    io::{self, BufWriter, ErrorKind, Write},
};

use crate::{
    args::OutputArgs,
    exit::{CommandFailure, Exit},
    report::{ItemFailure, PrintedAnswer},
    screen::{Screen, count},
};

/// Failed items told one by one; the rest is counted. All are in `--json`.
const TOLD: usize = 10;

/// Prints `answer` and says how the tool ends.
pub(crate) fn print(answer: &impl PrintedAnswer, output: &OutputArgs) -> Result<Exit, CommandFailure> {
    let stdout = BufWriter::new(io::stdout().lock());
    let written = if output.json { json(answer, stdout) } else { table(answer, stdout) };
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Exit::Done),
        Err(error) => return Err(CommandFailure::new(Exit::Internal, format!("standard output: {error}"))),
        Ok(()) => {}
    }
    if !output.json {
        tell(answer.failures());
        if let Some(warning) = answer.warning().filter(|_| !output.quiet) {
            line("warning", &warning);
        }
    }
    Ok(if answer.failures().is_empty() { Exit::Done } else { Exit::SomeFailed })
}

fn json(answer: &impl PrintedAnswer, mut out: impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut out, answer)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn table(answer: &impl PrintedAnswer, mut out: impl Write) -> io::Result<()> {
    out.write_all(answer.table(Screen::of_stdout()).as_bytes())?;
    out.flush()
}

fn tell(failures: &[ItemFailure]) {
    for failure in failures.iter().take(TOLD) {
        let ItemFailure { index, reason, message, .. } = failure;
        error(&CommandFailure::new(Exit::SomeFailed, format!("item {index}: {message} [{reason}]")));
    }
    if failures.len() > TOLD {
        let rest = count(failures.len() - TOLD, "more item");
        error(&CommandFailure::new(Exit::SomeFailed, format!("{rest} failed")).hint("--json lists all"));
    }
}

/// Says on standard error what failed.
pub(crate) fn error(failure: &CommandFailure) {
    line("error", failure);
}

/// One line on standard error. Where that is gone there is nobody to tell.
fn line(kind: &str, what: &impl Display) {
    let _ = writeln!(io::stderr(), "{kind}: {what}");
}
