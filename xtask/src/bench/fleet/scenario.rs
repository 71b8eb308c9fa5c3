//! What goes wrong with a fleet, who is measured then, and how it is done.

use crate::bench::timed::TimedServer;

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

    /// What happens to these servers within `seconds`.
    pub(super) fn faults(self, servers: &[TimedServer], seconds: u64) -> Vec<String> {
        let pid = |server: &TimedServer| server.pid_file.display().to_string();
        let all: Vec<String> = servers.iter().map(pid).collect();
        let at = |share: f64| (seconds as f64 * share).round();
        match self {
            Self::Quiet | Self::Straggler | Self::BlackHole | Self::Dns => Vec::new(),
            Self::Stalls => vec![format!("every=1s,for=150ms,signal=STOP,pid={}", all.join(":"))],
            Self::Frozen => {
                let first = all.first().cloned().unwrap_or_default();
                vec![format!("at={}s,for={}s,signal=STOP,pid={first}", at(0.25), at(0.25))]
            }
            Self::Kill => vec![format!("every={}s,signal=KILL,pid={}", at(0.15).max(2.0), all.join(":"))],
            Self::Rolling => {
                let turn =
                    |(n, pid): (usize, &String)| format!("at={}s,signal=TERM,pid={pid}", at(0.2 * (n + 1) as f64));
                all.iter().enumerate().map(turn).collect()
            }
        }
    }
}
