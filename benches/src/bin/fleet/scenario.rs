//! What goes wrong with a fleet, who is measured then, and how it is done.

use std::time::Duration;

use sortie_benches::timed::TimedServer;
use sortie_lab::fault::{Fault, FaultSpec, FaultTime};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum FaultScenario {
    /// Nothing
    Quiet,
    /// A random server is stopped (SIGSTOP) for 150 ms once a second
    Stalls,
    /// One server is four times slower
    Straggler,
    /// One server hangs for a quarter of the time
    Frozen,
    /// A random server is killed (SIGKILL) again and again and comes back half a second later
    Kill,
    /// One server after the other is asked to leave (SIGTERM) and comes back
    Rolling,
    /// A fifth address takes connections and never answers
    BlackHole,
    /// Two of four servers leave the name and the machine, two others come
    Dns,
}

impl FaultScenario {
    pub(super) const ALL: [Self; 8] = [
        Self::Quiet,
        Self::Stalls,
        Self::Straggler,
        Self::Frozen,
        Self::Kill,
        Self::Rolling,
        Self::BlackHole,
        Self::Dns,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Stalls => "stalls",
            Self::Straggler => "straggler",
            Self::Frozen => "frozen",
            Self::Kill => "kill",
            Self::Rolling => "rolling",
            Self::BlackHole => "black-hole",
            Self::Dns => "dns",
        }
    }

    /// Who is measured. Hand-written strategies fail jobs in most of these; they are told where the design compares.
    pub(super) fn strategies(self) -> &'static str {
        match self {
            Self::Quiet | Self::Stalls => "whole,p2c+hedge,sortie-no-hedge,sortie",
            Self::Straggler => "naive,p2c,p2c+hedge,whole,sortie",
            Self::Frozen | Self::Kill | Self::Rolling | Self::BlackHole | Self::Dns => "sortie",
        }
    }

    /// What happens to the processes of these servers within `seconds`.
    pub(super) fn faults(self, servers: &[TimedServer], seconds: u64) -> Vec<FaultSpec> {
        let pid = |server: &TimedServer| server.pid_file.display().to_string();
        let all: Vec<String> = servers.iter().map(pid).collect();
        let first = all.first().cloned().into_iter().collect();
        let at = |share: f64| Duration::from_secs((seconds as f64 * share).round() as u64);
        let every = |every: Duration| FaultTime::Every { every, from: every };
        let fault = |when, fault, pids| FaultSpec::of(when, fault, pids).into_iter().collect();
        match self {
            Self::Quiet | Self::Straggler | Self::BlackHole | Self::Dns => Vec::new(),
            Self::Stalls => fault(every(Duration::from_secs(1)), Fault::Stall(Duration::from_millis(150)), all),
            Self::Frozen => fault(FaultTime::At(at(0.25)), Fault::Stall(at(0.25)), first),
            // They come back: something keeps them running.
            Self::Kill => fault(every(at(0.15).max(Duration::from_secs(2))), Fault::Crash(None), all),
            Self::Rolling => {
                let turn = |(n, pid): (u32, String)| {
                    FaultSpec::of(FaultTime::At(at(0.2 * f64::from(n))), Fault::Replace, vec![pid])
                };
                (1..).zip(all).filter_map(turn).collect()
            }
        }
    }
}
