//! The three programs, built in release.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use anyhow::{Context as _, bail};

use crate::{
    process::{self, Keep},
    workspace,
};

/// Builds the three programs and returns the folder they are in.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo.args([
        "build",
        "--release",
        "-p",
        "sortie-server",
        "-p",
        "sortie-gateway",
        "-p",
        "sortie",
        "--bins",
        "--message-format=json-render-diagnostics",
    ]);
    if !io::stderr().is_terminal() {
        cargo.env("CARGO_TERM_PROGRESS_WHEN", "never");
    }
    eprintln!("building sortie-server, sortie-gateway and sortie (minutes the first time)");
    let out = process::output(&mut cargo, "cargo build", Keep::Stdout)?;
    if !out.status.success() {
        bail!("cargo build failed ({})", out.status);
    }
    let messages = cargo_metadata::Message::parse_stream(out.stdout.as_bytes());
    let program = messages.filter_map(Result::ok).find_map(|message| match message {
        cargo_metadata::Message::CompilerArtifact(artifact) if artifact.target.name == "sortie-server" => {
            artifact.executable
        }
        _ => None,
    });
    let program = program.context("cargo built no sortie-server")?.into_std_path_buf();
    Ok(program.parent().context("sortie-server is in no folder")?.to_owned())
}
