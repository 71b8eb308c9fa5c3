//! Items, what they share, and the chunks that they become.

use crate::ids::EndpointId;

/// One item of a job as far as the planner cares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ItemSize {
    /// Tokens it will have.
    pub tokens: u64,
    /// The work that they are: of each of its sequences by the model's curve ([`crate::Fleet::curve`]).
    pub work: u64,
    /// Bytes it takes in a request.
    pub bytes: u64,
    /// Bytes it takes in an answer.
    pub answer_bytes: u64,
}

/// What every chunk carries beside its items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedSize {
    /// Tokens it adds to a chunk.
    pub tokens: u64,
    /// The work that they are.
    pub work: u64,
    /// Bytes it adds to a request.
    pub bytes: u64,
}

/// Items that go to one server in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Places of the items in the job, ascending.
    pub items: Vec<usize>,
    /// Tokens of the chunk, what is shared included.
    pub tokens: u64,
    /// The work that they are.
    pub work: u64,
    /// The server it was made for; none for a chunk that waits until one has finished another.
    pub target: Option<EndpointId>,
}
