//! Standard output, whose reader may go away (`| head`).

use std::io::{self, Write as _};

use anyhow::Context as _;

/// Prints to standard output; a reader that went away is no failure of ours.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot print"),
    }
}
