//! Benchmarks that need a machine: engines on processors and GPUs, and servers in processes of their own. What several
//! of them share lives here; each is a program in `bin/` and is run by `cargo xtask bench`, which prints its table.
//!
//! | module | part |
//! |---|---|
//! | `work` | the items that engines are given |
//! | `timed`, `respawner` | servers whose device sleeps, kept running |
//! | `envoy` | Envoy before them |
//! | `jobs` | what they are asked |
//! | `report` | runs `sortie bench` and reads what it prints |
//! | `server_counters` | what servers say of a run themselves |
//! | `SeededNumbers` | numbers that are the same in every run |
//! | `samples` | memory, threads and files of a process |
//!
//! All but `work` and `samples` need clients and processes, and come with the feature `servers`, which is on unless
//! left out: `packed_cpu` and `static_texts` need an engine alone.
//!
//! Clients, faults, sizes and quantiles are those of [`sortie_lab`].

#![forbid(unsafe_code)]

#[cfg(feature = "servers")]
pub mod envoy;
#[cfg(feature = "servers")]
pub mod jobs;
mod random;
#[cfg(feature = "servers")]
pub mod report;
#[cfg(feature = "servers")]
mod respawner;
pub mod samples;
#[cfg(feature = "servers")]
pub mod server_counters;
#[cfg(feature = "servers")]
pub mod timed;
mod work;

pub use random::SeededNumbers;
pub use work::{batches_in_order, rerank_items};
