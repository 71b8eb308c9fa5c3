//! ONNX Runtime: the library found and loaded, sessions made by device, and what they tell of themselves.

pub(crate) mod arena;
mod library;
pub(crate) mod profile;
pub(crate) mod session;

pub use arena::{ArenaUse, DEFAULT_SHARE_TENTHS};
pub use library::{ORT_VERSION, Runtime, library_candidates, library_candidates_for};
pub use profile::NodeTime;
