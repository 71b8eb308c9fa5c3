//! What a kind of call implements so that it can be cut over several servers.
//!
//! A call is a list of items and things they share (query, options). It gives
//! the request for any chunk of its items, opens an answer into one value an
//! item, and makes its result of all values in request order. [`crate::job`] does
//! the rest, the same for every kind of call.

use std::{fmt, future::Future};

use sortie_dispatch::BatchSample;
use sortie_proto::v1;
use tonic::{Response, Status};

use crate::{
    error::Error,
    metadata::millis,
    report::{BatchReport, Report},
    transport::Stub,
};

/// What servers spend on a call's tokens; costs are kept apart.
pub(crate) use sortie_dispatch::Resource;

/// An answer to a chunk, opened: one value an item, in the chunk's order.
#[derive(Debug)]
pub struct ChunkAnswer<H, V> {
    /// Facts about the whole answer, the same in every chunk of a job.
    pub head: H,
    /// One value an item; `None` where it failed.
    pub values: Vec<Option<V>>,
    /// Per-item facts.
    pub items: v1::ItemInfo,
    /// Where the time went, if it is reported.
    pub chunk: v1::ChunkInfo,
}

impl<H, V> ChunkAnswer<H, V> {
    /// Gives the answer back if its lists fit the `count` items that were asked about, and it knows of windows where they
    /// were asked for: an older server cuts texts and does not say that it was to read them whole.
    pub(super) fn check(self, count: usize, in_windows: bool) -> Result<Self, Malformed> {
        if in_windows && self.items.windows.is_empty() && self.items.errors.len() < count {
            return Err(Malformed("the server does not read texts in windows; it is older than they are".to_owned()));
        }
        let v1::ItemInfo { tokens, truncated, windows, .. } = &self.items;
        for (what, len) in
            [("token counts", tokens.len()), ("truncations", truncated.len()), ("counts of windows", windows.len())]
        {
            if len > 0 {
                expect_len(what, len, count)?;
            }
        }
        match self.items.errors.iter().find(|error| error.index as usize >= count) {
            Some(error) => Err(Malformed(format!("the answer has an error of item {} of {count}", error.index))),
            None => Ok(self),
        }
    }

    /// The batches that the chunk rode in.
    pub(super) fn batches(&self) -> Vec<BatchSample> {
        let batches = batches(&self.chunk);
        batches
            .map(|batch| BatchSample { us: batch.duration.as_secs_f64() * 1e6, work: f64::from(batch.work) })
            .collect()
    }
}

/// The batches that a server's answer speaks of. Where it says nothing of work every token counts as one.
pub(super) fn batches(chunk: &v1::ChunkInfo) -> impl Iterator<Item = BatchReport> + '_ {
    let times = chunk.batch_ms.iter().zip(&chunk.batch_tokens).enumerate();
    times.map(|(at, (&ms, &tokens))| BatchReport {
        duration: millis(f64::from(ms)),
        tokens,
        work: chunk.batch_work.get(at).copied().unwrap_or(tokens),
    })
}

/// Answers of all chunks, in request order.
#[derive(Debug)]
pub struct MergedAnswer<H, V> {
    /// Head of the chunks; `None` where every item failed before it was sent.
    pub head: Option<H>,
    /// One value an item; `None` where it failed.
    pub values: Vec<Option<V>>,
    /// What happened.
    pub report: Report,
}

/// Why an answer cannot be opened, in words.
#[derive(Debug)]
pub struct Malformed(pub(crate) String);

/// Checks that a list has the length it should.
pub(crate) fn expect_len(what: &str, got: usize, want: usize) -> Result<(), Malformed> {
    if got == want { Ok(()) } else { Err(Malformed(format!("the answer has {got} {what}, not {want}"))) }
}

/// The input that every chunk of a call carries in addition to its items.
#[derive(Clone, Copy, Debug)]
pub enum SharedInput<'a> {
    /// Nothing that costs tokens.
    Nothing,
    /// An input that is encoded once a chunk.
    PerChunk(&'a v1::Input),
    /// An input that is encoded with each item.
    PerItem(&'a v1::Input),
    /// Labels of the request, which stand before each item; there may be none.
    LabelsPerItem(&'a [String]),
}

/// A call that can be cut into chunks. Only this crate implements it.
pub trait ChunkedRpc: fmt::Debug + Send + Sync + 'static {
    /// Request message of the contract.
    type Request: prost::Message + Send + 'static;
    /// Response message of the contract.
    type Response: Send + 'static;
    /// Facts about the whole answer.
    type Head: Clone + PartialEq + fmt::Debug + Send;
    /// What one item's answer is.
    type Value: fmt::Debug + Send;
    /// What the call answers.
    type Output: Send;

    /// Name of the RPC.
    const NAME: &'static str;
    /// Field that holds the items.
    const ITEMS: &'static str;
    /// What servers spend.
    const RESOURCE: Resource = Resource::Device;

    /// The items.
    fn items(&self) -> &[v1::Input];

    /// What every chunk carries beside its items.
    fn shared(&self) -> SharedInput<'_> {
        SharedInput::Nothing
    }

    /// Where long items are read in windows: the tokens that neighbouring windows share.
    fn stride(&self) -> Option<u32> {
        None
    }

    /// Whether its answer must be that of one server: the job then stays whole.
    fn whole(&self) -> bool {
        false
    }

    /// Bytes that one item of `tokens` tokens takes in an answer, no less than it will.
    fn answer_bytes(&self, tokens: u64) -> u64;

    /// Checks the call, and refuses what every server would refuse.
    ///
    /// # Errors
    /// With the reason and the text that a server would give.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// The request for a chunk of the items.
    fn request(&self, model: &str, text: v1::TextOptions, items: Vec<v1::Input>) -> Self::Request;

    /// Sends the request of one chunk.
    fn send(
        stub: Stub,
        request: tonic::Request<Self::Request>,
    ) -> impl Future<Output = Result<Response<Self::Response>, Status>> + Send;

    /// Opens an answer to `count` items.
    ///
    /// # Errors
    /// If it does not fit the request.
    fn open(response: Self::Response, count: usize) -> Result<ChunkAnswer<Self::Head, Self::Value>, Malformed>;

    /// Makes the caller's result from the merged answers.
    fn finish(&self, merged: MergedAnswer<Self::Head, Self::Value>) -> Self::Output;
}
