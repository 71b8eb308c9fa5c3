//! What happens, at its time.

use std::time::Duration;

use sortie_dispatch::{AnswerReport, Failure, LoadReport};

use crate::sim::{
    chunk::{ArrivedChunk, Key},
    client::{Failed, JobId, ProbeOrigin, ServerEvent},
};

/// Something that happens.
#[derive(Debug)]
pub(crate) enum WorldEvent {
    Arrive,
    /// Something arrives at or happens in a server's process.
    At(usize, Arrival),
    /// A server's process goes on.
    Resume(usize),
    /// A stall of this server and its neighbours.
    StallNext(usize),
    /// An incident of the scenario, by its number.
    Incident(usize),
    /// The next step of a server's coming back or going away.
    FaultStep(usize, FaultStep),
    Answer(Key, Box<Result<AnswerReport, Failed>>),
    Probed(ProbeOrigin, Box<Result<LoadReport, Failure>>),
    Wake(u32, JobId),
    WakeFleet(u32),
    ServerEvent(u32, usize, ServerEvent),
    Look,
}

/// What a server's process deals with; while it is stopped all of it waits.
#[derive(Debug)]
pub(crate) enum Arrival {
    Chunk(Box<ArrivedChunk>),
    Cancel(Key),
    Probe(ProbeOrigin, u64),
    /// Its running batch ends, of this life of the process.
    BatchEnds(u32),
    /// The queue wanted to be polled.
    Poll(u32),
}

/// What comes later of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultStep {
    /// A crashed process is back.
    Back,
    /// Packets no longer vanish.
    Clear,
    /// Keepalive ends the connections of a black hole that began then.
    Dead(Duration),
    /// A server whose replacement is there is told to stop.
    Drain,
    /// A drained process ends.
    Stop,
    /// Its replacement is there.
    Replacement,
}
