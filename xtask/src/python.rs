//! Finds a Python with pip, and says what to install where there is none.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, bail};

use crate::process::{self, Keep};

/// Oldest pip that can be asked for wheels of several platforms at once (November 2020).
const OLDEST_PIP: (u32, u32) = (20, 3);

/// A Python 3 that has pip.
#[derive(Debug)]
pub struct Python {
    program: &'static str,
    /// pip's (major, minor).
    pip: (u32, u32),
}

impl Python {
    /// Looks for `python3`, then `python`.
    pub fn find() -> anyhow::Result<Self> {
        let Some(program) = ["python3", "python"].into_iter().find(|p| is_python3(p)) else {
            bail!("python3 is needed to fetch packages, and there is none on the PATH\n{}", install_hint());
        };
        let out = process::output(Command::new(program).args(["-m", "pip", "--version"]), program, Keep::Both)?;
        if !out.status.success() {
            bail!("{program} has no pip, which is needed to fetch packages\n{}", install_hint());
        }
        let pip = pip_version(&out.stdout)
            .with_context(|| format!("cannot read pip's version from {:?}", out.stdout.trim()))?;
        if pip < OLDEST_PIP {
            bail!(
                "pip {}.{} is too old, {}.{} or newer is needed: {program} -m pip install --user --upgrade pip",
                pip.0,
                pip.1,
                OLDEST_PIP.0,
                OLDEST_PIP.1
            );
        }
        Ok(Self { program, pip })
    }

    /// A command that runs pip, deaf to settings that would break a plain download.
    pub fn pip(&self) -> Command {
        let mut command = self.command();
        command.args(["-m", "pip", "--no-input", "--disable-pip-version-check"]);
        command.env("PIP_REQUIRE_VIRTUALENV", "0").env("PIP_USER", "0").env("PIP_ROOT_USER_ACTION", "ignore");
        command
    }

    /// A command that runs this Python.
    pub fn command(&self) -> Command {
        Command::new(self.program)
    }

    /// Unpacks an archive into `folder`; `module` is `tarfile` or `zipfile`.
    pub fn extract(&self, module: &str, archive: &Path, folder: &Path) -> anyhow::Result<()> {
        let mut command = self.command();
        let out =
            process::output(command.args(["-m", module, "-e"]).arg(archive).arg(folder), self.program, Keep::Both)?;
        if !out.status.success() {
            bail!("cannot unpack {}: {}", archive.display(), out.stderr.trim());
        }
        Ok(())
    }

    /// Whether pip can go on with a download that was cut (from 25.1 on).
    pub fn can_resume(&self) -> bool {
        self.pip >= (25, 1)
    }
}

fn is_python3(program: &str) -> bool {
    let mut command = Command::new(program);
    command.args(["-c", "import sys; sys.exit(sys.version_info[0] != 3)"]);
    process::output(&mut command, program, Keep::Both).is_ok_and(|out| out.status.success())
}

/// `pip 23.2.1 from …` to (23, 2).
fn pip_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix("pip ")?.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// What to type to get python3 and pip.
fn install_hint() -> String {
    if cfg!(target_os = "macos") {
        return hint(&["macos"]);
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |key: &str| release.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_default().trim_matches('"');
    let ids = format!("{} {}", value("ID="), value("ID_LIKE="));
    hint(&ids.split_whitespace().collect::<Vec<_>>())
}

fn hint(ids: &[&str]) -> String {
    let known = [
        ("debian", "Debian, Ubuntu", "sudo apt-get install python3 python3-pip"),
        ("fedora", "Fedora, RHEL", "sudo dnf install python3 python3-pip"),
        ("arch", "Arch", "sudo pacman -S python python-pip"),
        ("suse", "openSUSE", "sudo zypper install python3 python3-pip"),
        ("macos", "macOS", "brew install python"),
    ];
    let also = |id: &str| match id {
        "ubuntu" => "debian",
        "rhel" | "centos" => "fedora",
        "opensuse" => "suse",
        _ => "",
    };
    let fits: Vec<_> = known.iter().filter(|(id, ..)| ids.iter().any(|i| i == id || also(i) == *id)).collect();
    match fits.first() {
        Some((_, _, line)) => format!("install it with: {line}"),
        None => known.iter().map(|(_, name, line)| format!("on {name}: {line}")).collect::<Vec<_>>().join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pip_versions() {
        assert_eq!(pip_version("pip 23.2.1 from /usr/lib (python 3.11)"), Some((23, 2)));
        assert_eq!(pip_version("pip 25.1 from /x"), Some((25, 1)));
        assert_eq!(pip_version("nothing"), None);
    }

    #[test]
    fn hints_name_the_package_manager() {
        assert!(hint(&["ubuntu", "debian"]).contains("apt-get"));
        assert!(hint(&["rocky", "rhel", "centos", "fedora"]).contains("dnf"));
        assert!(hint(&["macos"]).contains("brew"));
        let all = hint(&["unheard-of"]);
        assert!(all.contains("apt-get") && all.contains("dnf") && all.contains("brew"), "{all}");
    }
}
