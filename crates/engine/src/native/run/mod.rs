//! From work items to a native model's answers: sequences are packed end to end ([`packing`]), laid out as a graph's inputs
//! ([`inputs`], [`host`]), run in a session ([`session`], [`executor`]), small batches by captured CUDA graphs
//! ([`cuda_graphs`], [`buckets`]).

mod buckets;
mod commit;
mod cuda_graphs;
mod executor;
mod host;
mod inputs;
pub(super) mod packing;
mod session;

pub use self::cuda_graphs::CapturedGraphs;
#[cfg(test)]
pub(super) use self::{
    buckets::Grid,
    cuda_graphs::Graphs,
    session::{SessionShape, load, write},
};
pub(crate) use self::{
    commit::{WrittenGraph, commit, threads},
    executor::NativeExecutor,
    host::{NativeBatch, NativeHost, NativeRaw},
};
pub(super) use self::{
    inputs::{HostTensor, INPUTS, Rows, tensors},
    packing::PackedInputs,
    session::SharedGraph,
};
