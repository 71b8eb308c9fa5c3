//! Folders of Python packages in the cache, made of lock files with digests: what our checks, tests and benchmarks in
//! Python import.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::{
    cache::Cache,
    digest, pip,
    process::{self, Keep},
    python::Python,
    workspace,
};

/// Oldest Python that the lock files are made for.
const PYTHON: (u32, u32) = (3, 11);

/// Between folders of `PYTHONPATH` on the systems that we run on.
const PATH_SEPARATOR: &str = ":";

/// A folder of Python packages.
#[derive(Debug)]
pub struct Site {
    python: Python,
    folder: PathBuf,
    /// Packages that are seen where this one does not have them.
    below: Option<PathBuf>,
    /// Where Python keeps what it compiled: beside the entry, whose files have digests.
    bytecode: PathBuf,
}

impl Site {
    /// The packages that the file `lock` of the checkout lists, for the local Python: the cache's entry `python/NAME`,
    /// fetched where it is not there yet.
    pub fn ensure(cache: &Cache, name: &str, lock: &str) -> anyhow::Result<Self> {
        let python = Python::find()?;
        let version = process::output(python.command().arg("--version"), "python", Keep::Both)?.stdout;
        let too_old =
            || format!("what {lock} lists needs Python {}.{} or newer, this is {}", PYTHON.0, PYTHON.1, version.trim());
        if minor(&version).with_context(too_old)? < PYTHON {
            bail!(too_old());
        }
        let lock = workspace::root().join(lock);
        let text = fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
        let fingerprint = digest::bytes(&[&text, version.as_bytes()].concat());
        let folder = cache.entry(&format!("python/{name}"), &fingerprint, |folder| {
            eprintln!("fetching the packages of {} for {}", lock.display(), version.trim());
            let scratch = cache.scratch()?;
            pip::install_all(&python, &lock, folder, scratch.path())?;
            // Scripts have the path of this scratch folder in them: modules are run instead. Programs may stay.
            remove_scripts(&folder.join("bin"))
        })?;
        Ok(Self { python, folder, below: None, bytecode: cache.path(&format!("bytecode/{name}")) })
    }

    /// The same over others: packages of both are seen, these first.
    #[must_use]
    pub fn over(self, below: &Self) -> Self {
        Self { below: Some(below.folder.clone()), ..self }
    }

    /// A file of a package.
    pub(crate) fn file(&self, path: &str) -> anyhow::Result<PathBuf> {
        let file = self.folder.join(path);
        if file.is_file() { Ok(file) } else { bail!("{} is in none of the packages", file.display()) }
    }

    /// A command that runs a module of it, and sees no other packages than these.
    pub fn module(&self, name: &str) -> Command {
        let mut command = self.python();
        command.args(["-m", name]).current_dir(workspace::root());
        command
    }

    /// A command that runs Python and sees no other packages than these.
    pub fn python(&self) -> Command {
        let mut command = self.python.command();
        let mut path = self.folder.clone().into_os_string();
        if let Some(below) = &self.below {
            path.push(PATH_SEPARATOR);
            path.push(below);
        }
        command.arg("-s").env("PYTHONPATH", path);
        // Without it PyTorch takes half a minute to import.
        command.env("PYTHONPYCACHEPREFIX", &self.bytecode).env_remove("PYTHONDONTWRITEBYTECODE");
        command
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Removes what starts with `#!` from a folder.
fn remove_scripts(folder: &Path) -> anyhow::Result<()> {
    let Ok(items) = fs::read_dir(folder) else { return Ok(()) };
    for item in items {
        let path = item?.path();
        if fs::read(&path).is_ok_and(|bytes| bytes.starts_with(b"#!")) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// `Python 3.11.7` to (3, 11).
fn minor(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().strip_prefix("Python ")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_python() {
        assert_eq!(minor("Python 3.11.7\n"), Some((3, 11)));
        assert!(minor("Python 3.9.1").unwrap() < PYTHON && minor("Python 3.14.0rc1").unwrap() > PYTHON);
        assert_eq!(minor("nothing"), None);
    }

    #[test]
    fn scripts_go_and_programs_stay() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("script"), "#!/gone/python\n").unwrap();
        fs::write(dir.path().join("program"), b"\x7fELF").unwrap();
        remove_scripts(dir.path()).unwrap();
        assert!(!dir.path().join("script").exists() && dir.path().join("program").exists());
        remove_scripts(&dir.path().join("nothing")).unwrap();
    }
}
