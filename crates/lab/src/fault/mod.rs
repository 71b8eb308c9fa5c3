//! The faults that a server can have.
//!
//! | fault | what the wire shows |
//! |---|---|
//! | stall | nothing: neither answers nor probes, until it is over; then all of it |
//! | pace | batches take longer, and the server reports so once it has measured it |
//! | crash | connections end at once; new ones are refused until it is back, with a new epoch |
//! | failing | every chunk fails within microseconds; probes show an idle server |
//! | black hole | nothing, for ever or for a time; keepalive ends the connections in the end |
//! | join | discovery names another server, to each client a little later or sooner |
//! | replace | another server joins; then the server drains and goes: a step of a rolling restart |

mod process;

use std::time::Duration;

pub use process::{FaultSpec, FaultTime, start};

/// Stops of whole processes (SIGSTOP, a page-in, a driver that hangs), exponential both ways.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stalls {
    /// Mean pause between two stalls of one server.
    pub every: Duration,
    /// Mean length of one.
    pub length: Duration,
    /// Servers that stall together, neighbours by number: those of one host or rack.
    pub together: usize,
}

/// A fault of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// It stops for so long.
    Stall(Duration),
    /// Batches take so many times longer from now on.
    Pace(f64),
    /// The process dies; after so long it is back, if at all.
    Crash(Option<Duration>),
    /// Every chunk fails at once, or no longer does.
    Failing(bool),
    /// Packets to and from it vanish; after so long they no longer do, if at all.
    BlackHole(Option<Duration>),
    /// A server that is new joins the fleet.
    Join,
    /// Another joins in its place; once clients can know that, it is told to stop and finishes what it has.
    Replace,
}

/// A fault of some servers at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// When.
    pub at: Duration,
    /// Their numbers; of a `Join` only how many counts.
    pub servers: Vec<usize>,
    /// What.
    pub fault: Fault,
}

impl Incident {
    /// A fault of one server.
    #[must_use]
    pub fn one(at: Duration, server: usize, fault: Fault) -> Self {
        Self { at, servers: vec![server], fault }
    }
}
