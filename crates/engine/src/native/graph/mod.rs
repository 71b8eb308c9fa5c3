//! Graphs written here: the encoder over packed sequences, and the head of each task on top of it.

mod encoder;
mod experts;
mod head;
mod kept;
pub(super) mod names;
mod on_cuda;
mod parts;
pub(super) mod pooling;
pub(super) mod self_attention;
mod tagger;

pub(super) use encoder::{Wanted, encoder};
pub(super) use head::{Head, head, wanted};
pub(super) use parts::{stored, vector};
