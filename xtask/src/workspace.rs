//! The checkout this was built from, and the cargo that runs us.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use cargo_metadata::{Metadata, MetadataCommand};

use crate::process::{self, Keep};

/// Root of the checkout.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The cargo that runs us, in the root of the checkout.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // What the cargo that runs us says of this package would make build scripts run again, and much be built anew.
    let about_us = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"];
    for (key, _) in env::vars_os().filter(|(key, _)| about_us.iter().any(|p| key.to_string_lossy().starts_with(p))) {
        command.env_remove(key);
    }
    command
}

/// The rustc that belongs to it.
pub fn rustc() -> Command {
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.current_dir(root());
    command
}

/// Folder cargo builds into.
pub fn target() -> anyhow::Result<PathBuf> {
    Ok(metadata()?.target_directory.into_std_path_buf())
}

/// Names of the packages that are meant for a registry.
pub(crate) fn published() -> anyhow::Result<Vec<String>> {
    let ours = metadata()?.packages.into_iter();
    Ok(ours.filter(|p| p.publish.as_ref().is_none_or(|to| !to.is_empty())).map(|p| p.name.to_string()).collect())
}

/// What cargo knows of our own packages.
fn metadata() -> anyhow::Result<Metadata> {
    let mut cargo = cargo();
    cargo.args(["metadata", "--format-version", "1", "--no-deps"]);
    let out = process::output(&mut cargo, "cargo metadata", Keep::Stdout)?;
    MetadataCommand::parse(&out.stdout).context("cannot read what cargo metadata printed")
}

/// Cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
