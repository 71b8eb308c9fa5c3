//! What goes wrong with a fleet while it is measured.

use std::time::Duration;

use sortie_benches::timed::TimedServer;
use sortie_lab::fault::{Fault, FaultSpec, FaultTime};

/// How much slower a slow server is.
pub(crate) const SLOWER: f64 = 4.0;

/// How long a stall is.
pub(crate) const STALL: Duration = Duration::from_millis(150);

/// From one stall to the next, of whichever server.
pub(crate) const STALL_EVERY: Duration = Duration::from_secs(1);

/// From one death to the next.
const KILL_EVERY: Duration = Duration::from_secs(3);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing.
    None,
    /// One of the servers is four times slower.
    Slow,
    /// A random one is stopped for 150 ms once a second.
    Stalls,
    /// A random one is killed every three seconds and comes back half a second later.
    Kill,
    /// One after the other is told to leave, and comes back.
    Rolling,
    /// Another tenant sends bursts that are a third of the capacity, and tries at once again where it is refused.
    Neighbour,
    /// Packets take a millisecond longer and one in a hundred is lost.
    Netem,
}

impl Trouble {
    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Slow => "one 4x slow",
            Self::Stalls => "stalls of 150 ms",
            Self::Kill => "kill -9 and restart",
            Self::Rolling => "rolling restart",
            Self::Neighbour => "noisy neighbour",
            Self::Netem => "loss and delay",
        }
    }

    /// What happens to the processes of these servers within `seconds`.
    pub(crate) fn faults(self, servers: &[TimedServer], seconds: f64) -> Vec<FaultSpec> {
        let all: Vec<String> = servers.iter().map(|server| server.pid_file.display().to_string()).collect();
        let every = |every| FaultTime::Every { every, from: every };
        match self {
            Self::None | Self::Slow | Self::Neighbour | Self::Netem => Vec::new(),
            Self::Stalls => FaultSpec::of(every(STALL_EVERY), Fault::Stall(STALL), all).into_iter().collect(),
            Self::Kill => {
                // A short trial has its death as well.
                let each = KILL_EVERY.min(Duration::from_secs_f64(seconds / 2.0));
                FaultSpec::of(every(each), Fault::Crash(None), all).into_iter().collect()
            }
            Self::Rolling => {
                let step = seconds / (servers.len() + 1) as f64;
                let turn = |(n, pid): (u32, String)| {
                    let at = FaultTime::At(Duration::from_secs_f64(step * f64::from(n)));
                    FaultSpec::of(at, Fault::Replace, vec![pid])
                };
                (1..).zip(all).filter_map(turn).collect()
            }
        }
    }
}
