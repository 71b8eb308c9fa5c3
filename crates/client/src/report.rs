//! What every answer says beside its numbers: per item, per chunk, and for the job.

use std::time::Duration;

/// One item that could not be answered; the others are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ItemError {
    /// Place of the item in the request, from 0.
    pub index: usize,
    /// A stable word for programs, for example `TEXT_TOO_LARGE`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// A batch that held items of a chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BatchReport {
    /// Time on the device.
    pub duration: Duration,
    /// Tokens in it, other callers' included.
    pub tokens: u32,
    /// The work that they were, in tokens: a long text counts more than it has.
    pub work: u32,
}

/// One chunk of a job as its server answered it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ChunkReport {
    /// Address of the server.
    pub endpoint: String,
    /// Name of the server process, as it says itself.
    pub replica: String,
    /// Revision of the model that answered.
    pub revision: String,
    /// Which run of the model answered, where its load report came along: it grows when the server or its model restarts.
    pub epoch: Option<u64>,
    /// Items in the chunk.
    pub items: usize,
    /// Tokens they had, specials included.
    pub tokens: u64,
    /// Tokens the planner expected them to have.
    pub estimated_tokens: u64,
    /// Which attempt answered, from 1.
    pub attempt: u32,
    /// Whether that attempt was a hedge: made beside a late one, and first to answer.
    pub hedge: bool,
    /// Time the chunk's first item waited for a batch.
    pub queue: Duration,
    /// Time spent making token ids.
    pub tokenize: Duration,
    /// Time its batches took on the device, summed.
    pub compute: Duration,
    /// Time from the request's arrival at the server to the answer's leaving.
    pub total: Duration,
    /// Time from the call to the start of the attempt that answered.
    pub began: Duration,
    /// Time of the attempt as the client saw it: from its start, with the wait for a connection, to the answer's arrival.
    pub elapsed: Duration,
    /// The batches that held its items.
    pub batches: Vec<BatchReport>,
}

/// One attempt whose answer did not count: it failed, or another one was first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostAttempt {
    /// Address of the server.
    pub endpoint: String,
    /// Items it asked about.
    pub items: usize,
    /// Tokens they were expected to have.
    pub estimated_tokens: u64,
    /// Which attempt of its chunk it was, from 1.
    pub attempt: u32,
    /// Whether it was made beside a late one.
    pub hedge: bool,
    /// Time from the call to its start.
    pub began: Duration,
    /// Time from its start to its end.
    pub elapsed: Duration,
    /// A stable word: how it failed, `given_up`, or `second` for an answer that came after another.
    pub outcome: &'static str,
}

/// What happened to a job.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Id its chunks shared, as sent in `sortie-job-id`.
    pub job_id: String,
    /// Name of the model that answered.
    pub model: String,
    /// Revisions of the model that answered, each once, in order of arrival.
    pub revisions: Vec<String>,
    /// Tokens each item had, in request order; 0 for one that failed.
    pub tokens: Vec<u32>,
    /// Whether each item was cut to fit, in request order.
    pub truncated: Vec<bool>,
    /// How many windows each item was read in, in request order; empty where no windows were asked for.
    pub windows: Vec<u32>,
    /// Items that failed, in request order.
    pub errors: Vec<ItemError>,
    /// Items of a message that were not sent because one before them is the same ([`crate::Client::send`]); their
    /// answers are copies.
    pub duplicates: usize,
    /// Items of a message whose answers were kept from another job; none where no store was asked
    /// ([`crate::AnswerStore`]).
    pub kept: Option<usize>,
    /// Chunks that were answered, in order of arrival.
    pub chunks: Vec<ChunkReport>,
    /// Attempts whose answers did not count, in the order they ended.
    pub lost: Vec<LostAttempt>,
    /// Attempts made over all chunks, first ones included.
    pub attempts: u32,
    /// Attempts that were made again after one failed.
    pub retries: u32,
    /// Attempts that were made beside a late one, on another server.
    pub hedges: u32,
    /// Hedges whose answer came first.
    pub hedges_won: u32,
    /// Estimated tokens sent beyond each chunk's first attempt: what hedges and retries cost.
    pub extra_tokens: u64,
    /// Of these, tokens of free retries: the chunk's attempt before was its first to die in transport, or a server
    /// refused bulk work.
    pub free_tokens: u64,
    /// Time from the call to the last answer.
    pub elapsed: Duration,
}

impl Report {
    /// Tokens of the whole job.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.tokens.iter().map(|&tokens| u64::from(tokens)).sum()
    }

    /// Share of the items that have an answer, from 0 to 1.
    #[must_use]
    pub fn coverage(&self) -> f64 {
        match self.tokens.len() {
            0 => 1.0,
            items => 1.0 - self.errors.len() as f64 / items as f64,
        }
    }

    /// Whether chunks were answered by different revisions of the model: their numbers may not compare.
    #[must_use]
    pub fn mixed_revisions(&self) -> bool {
        self.revisions.len() > 1
    }

    /// The error of item `index`, if it failed.
    #[must_use]
    pub fn error(&self, index: usize) -> Option<&ItemError> {
        let place = self.errors.binary_search_by_key(&index, |error| error.index).ok()?;
        self.errors.get(place)
    }
}
