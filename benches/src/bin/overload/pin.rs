//! Which cores servers run on and which the load: what makes the load must not take the processor from what is
//! measured.
//!
//! A child inherits the cores of the thread that starts it, and `available_parallelism` counts those: a server's
//! threads follow. Where there is one core, or the system cannot say, nothing is pinned and the table says so.

use std::fmt;

/// Cores by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cores(Vec<usize>);

/// Both sides' cores; empty ones are not pinned.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    pub(super) servers: Cores,
    pub(super) load: Cores,
}

impl Cores {
    /// How many there are to use.
    pub(super) fn count(&self) -> usize {
        if self.0.is_empty() { xtask::workspace::cores() } else { self.0.len() }
    }

    /// Does something whose children run on these cores.
    #[cfg(target_os = "linux")]
    pub(super) fn run<T>(&self, what: impl FnOnce() -> T) -> T {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
        let Some(before) = sched_getaffinity(None).ok().filter(|_| !self.0.is_empty()) else { return what() };
        let mut set = CpuSet::new();
        self.0.iter().for_each(|&core| set.set(core));
        if let Err(error) = sched_setaffinity(None, &set) {
            eprintln!("warning: nothing is pinned to {self}: {error}");
        }
        let done = what();
        // It held before.
        let _ = sched_setaffinity(None, &before);
        done
    }

    /// Does something whose children run on these cores: not on this system.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn run<T>(&self, what: impl FnOnce() -> T) -> T {
        what()
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("any core"),
            [one] => write!(f, "core {one}"),
            [first, .., last] => write!(f, "cores {first} to {last}"),
        }
    }
}

impl Pins {
    /// The first half of this machine's cores is the servers', the rest the load's.
    pub(super) fn halves() -> Self {
        let all = cores();
        let (servers, load) = all.split_at(all.len() / 2);
        if servers.is_empty() {
            return Self { servers: Cores::default(), load: Cores::default() };
        }
        Self { servers: Cores(servers.to_vec()), load: Cores(load.to_vec()) }
    }
}

#[cfg(target_os = "linux")]
fn cores() -> Vec<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let Ok(set) = sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect()
}

#[cfg(not(target_os = "linux"))]
fn cores() -> Vec<usize> {
    Vec::new()
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn children_are_pinned_and_we_are_not_for_long() {
        let before = cores();
        let pins = Pins::halves();
        let allowed = |cores: &Cores| {
            let out = cores.run(|| Command::new("cat").arg("/proc/self/status").output().unwrap());
            let text = String::from_utf8(out.stdout).unwrap();
            text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
        };
        if before.len() > 1 {
            assert_ne!(allowed(&pins.servers), allowed(&pins.load));
            assert_eq!(pins.servers.count() + pins.load.count(), before.len());
        }
        assert_eq!(cores(), before);
    }
}
