//! Where Sortie is measured: fleets in virtual time and fleets of real servers, asked by the real client and by what
//! others write by hand.
//!
//! | module | part |
//! |---|---|
//! | [`Strategy`] | the ways to send, of ours and of others |
//! | [`baseline`] | those of others, without sockets or a clock |
//! | [`fault`] | what goes wrong, in virtual time and with processes |
//! | [`arrivals`], [`sizes`] | when jobs come, and how large things are |
//! | [`stats`], [`table`], [`plot`] | what is counted, and how it is shown |
//! | [`sim`] | a fleet in virtual time |
//! | [`study`] | tables of many simulated runs: the program `sortie-sim` |
//! | [`bench`](mod@bench) | an open-loop load generator for real fleets: the command `sortie bench` |

#![forbid(unsafe_code)]

pub mod arrivals;
pub mod baseline;
pub mod bench;
pub mod fault;
pub mod plot;
pub mod sim;
pub mod sizes;
pub mod stats;
mod strategy;
pub mod study;
pub mod table;

use std::time::Duration;

pub use strategy::Strategy;

/// Whole nanoseconds; nonsense is none.
#[must_use]
pub(crate) fn micros(us: f64) -> Duration {
    Duration::try_from_secs_f64(us / 1e6).unwrap_or(Duration::ZERO)
}
