//! What models own to tokenize with: the threads that all of them share, what those did for each, and what was learned
//! of its texts.

mod pool;
mod stats;

pub(crate) use self::{
    pool::{ParallelTask, TokenizerPool},
    stats::TokenizeStats,
};
