//! What a driver is to do: for a job ([`Action`]) and for the fleet ([`FleetAction`]).
//! Every decision says why; the words of [`std::fmt::Display`] are for traces and metric labels.

use std::fmt;

use crate::{
    ids::{AttemptId, EndpointId, ModelId, ProbeId},
    time::Time,
};

/// What is to be done for a job.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Send a chunk to a server.
    Send(SendAttempt),
    /// Cancel an attempt (RST_STREAM), because nobody wants its answer. The job expects no further event about it.
    Cancel {
        /// The attempt.
        attempt: AttemptId,
        /// Why.
        reason: CancelReason,
    },
    /// Ask a server for its load report; its answer is an event of this job. The job does not wait longer for it than its
    /// next [`Action::WakeAt`], so a time limit is for the driver's own sake.
    Probe {
        /// Names the probe in later events.
        probe: ProbeId,
        /// The server.
        endpoint: EndpointId,
        /// Work in tokens that the server reserves for 2 ms (`ProbeRequest.tokens`).
        work: u64,
        /// Why.
        purpose: ProbePurpose,
    },
    /// A late attempt is not hedged. This is for traces.
    HedgeSkipped {
        /// The attempt that is late.
        attempt: AttemptId,
        /// Why it is left alone.
        reason: HedgeSkipped,
    },
    /// A chunk has its first answer: that of this attempt.
    ChunkAnswered {
        /// Index of the chunk.
        chunk: usize,
        /// The attempt.
        attempt: AttemptId,
    },
    /// A chunk that several servers failed is tried again as two, by their indices.
    Split {
        /// Index of the chunk.
        chunk: usize,
        /// Indices of the two that take its place; see [`crate::Job::chunk`].
        halves: [usize; 2],
    },
    /// A chunk will have no answer, and the job goes on without it.
    ChunkLost {
        /// Index of the chunk.
        chunk: usize,
        /// Why.
        reason: Missing,
        /// The attempt that failed last, if any was made.
        cause: Option<AttemptId>,
    },
    /// Come back with [`crate::Event::Tick`] then, if nothing happens before. Each one takes the place of
    /// the one before.
    WakeAt(Time),
    /// The fleet has something to do now: call [`crate::Fleet::handle`] with
    /// [`crate::FleetEvent::Tick`].
    PollFleet,
    /// The job is done, as well as its join policy asks for.
    Finish(Coverage),
    /// The job has failed.
    Fail {
        /// Why.
        reason: FailReason,
        /// The attempt whose failure it was, if it was one.
        cause: Option<AttemptId>,
        /// What was answered until then.
        coverage: Coverage,
    },
}

/// One attempt of a chunk, to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendAttempt {
    /// Names the attempt in later events.
    pub attempt: AttemptId,
    /// Index of the chunk; see [`crate::Job::chunk`].
    pub chunk: usize,
    /// The server.
    pub endpoint: EndpointId,
    /// Which attempt of the chunk it is, from 1.
    pub number: u32,
    /// What remains until then is what the attempt may take.
    pub deadline: Time,
    /// First try, retry or hedge.
    pub kind: AttemptKind,
    /// Whether nobody else works on the chunk: earlier attempts failed, or are with servers that do not run.
    pub rescue: bool,
    /// Why this server.
    pub reason: PlaceReason,
}

/// What is to be done for the fleet.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FleetAction {
    /// Ask a server for its load report; the answer is a [`crate::FleetEvent`]. A probe that stays
    /// unanswered is to be failed after [`crate::config::HealthConfig::probe_timeout`].
    Probe {
        /// Names the probe in later events.
        probe: ProbeId,
        /// The server.
        endpoint: EndpointId,
        /// The model to ask for; see [`crate::Fleet::model_name`].
        model: ModelId,
        /// Why.
        purpose: ProbePurpose,
    },
    /// Come back with [`crate::FleetEvent::Tick`] then. Each one takes the place of the one before.
    WakeAt(Time),
}

/// How much of a job was answered, and what that took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coverage {
    /// Items with an answer.
    pub items: usize,
    /// Items that were sent for one.
    pub of_items: usize,
    /// Tokens of the answered chunks.
    pub tokens: u64,
    /// Tokens of all chunks.
    pub of_tokens: u64,
    /// Attempts, first ones included.
    pub attempts: u32,
    /// Attempts that were retries.
    pub retries: u32,
    /// Attempts that were hedges.
    pub hedges: u32,
    /// Hedges whose answer came first.
    pub hedges_won: u32,
    /// Tokens sent beyond each chunk's first attempt.
    pub extra_tokens: u64,
    /// Of these, tokens of free retries.
    pub free_tokens: u64,
}

impl Coverage {
    /// Answered share of the items; 1 of none.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.of_items == 0 { 1.0 } else { self.items as f64 / self.of_items as f64 }
    }
}

/// Makes an enum of reasons whose words are stable.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$case_doc])* $case,)+ }

        impl $name {
            /// A stable word for traces and metric labels.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$case => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

reasons! {
    /// What an attempt is to its chunk.
    AttemptKind {
        /// The first attempt.
        First = "first",
        /// After a failure, and not paid from the budget: the attempt before was the chunk's first to die in
        /// transport, or a server refused bulk work for having too much.
        FreeRetry = "free_retry",
        /// After a failure, paid from the budget.
        Retry = "retry",
        /// Beside one that is late.
        Hedge = "hedge",
    }
}

reasons! {
    /// Why a server was chosen.
    PlaceReason {
        /// The plan cut the chunk for it.
        Planned = "planned",
        /// It would finish first of those whose probes came back.
        Probed = "probed",
        /// It would finish first of the whole fleet.
        Scanned = "scanned",
        /// It would finish first of two drawn (power of two choices).
        PowerOfTwo = "power_of_two",
        /// All others have a chunk of this job.
        SharedWithSibling = "shared_with_sibling",
        /// All others are suspect too.
        Suspect = "suspect",
        /// All others are ejected or not ready too.
        NotReady = "not_ready",
        /// All others have failed this chunk too.
        TriedBefore = "tried_before",
    }
}

reasons! {
    /// Why an attempt is given up.
    CancelReason {
        /// Another attempt of the chunk was answered.
        Lost = "lost",
        /// The job has failed or is done without it.
        JobOver = "job_over",
        /// The caller wants no answer any more.
        Caller = "caller",
    }
}

reasons! {
    /// Why a server is asked for its report.
    ProbePurpose {
        /// To place the chunks of a job.
        Place = "place",
        /// To find a server for a hedge.
        Hedge = "hedge",
        /// It is suspect: is it alive?
        Suspect = "suspect",
        /// Its ejection is over: is it well?
        HalfOpen = "half_open",
        /// Nothing is known of it.
        Joined = "joined",
    }
}

reasons! {
    /// Why a late attempt is not hedged now.
    HedgeSkipped {
        /// The budget has too few tokens.
        Budget = "budget",
        /// No other server would answer sooner.
        NoneSooner = "none_sooner",
        /// The job was sent whole and the fleet is loaded.
        WholeAndLoaded = "whole_and_loaded",
        /// It is bulk work, and its server is not silent.
        Bulk = "bulk",
        /// The chunk has had its hedges.
        Enough = "enough",
        /// Hedging is off for the job.
        Off = "off",
    }
}

reasons! {
    /// Why a chunk has no answer.
    Missing {
        /// Its attempts failed, and there are no more.
        Failed = "failed",
        /// The job ended first.
        OutOfTime = "out_of_time",
    }
}

reasons! {
    /// Why a job fails.
    FailReason {
        /// Its time was up.
        Deadline = "deadline",
        /// Every server would refuse it.
        Refused = "refused",
        /// A chunk has had all the attempts it gets.
        Attempts = "attempts",
        /// No server has time for it before its deadline.
        Overloaded = "overloaded",
        /// The budget has no tokens for another attempt.
        Budget = "budget",
        /// The wait before another attempt would outlast the deadline.
        NoTime = "no_time",
        /// A chunk fails wherever it is sent, and so does its half.
        Poison = "poison",
        /// The caller wants no answer any more.
        Cancelled = "cancelled",
    }
}
