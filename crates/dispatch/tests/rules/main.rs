//! Rules of dispatch, each as a named test.
//!
//! | module | of |
//! |---|---|
//! | `job` | jobs from their first event to their last |
//! | `idle` | small jobs on idle servers |
//! | `plan` | plans for fleets people have |
//! | `long_texts` | jobs with texts that take longer than their tokens say |
//! | `races` | late attempts and their hedges |
//! | `probing` | servers asked before a job is cut |
//! | `joins` | jobs that need not be whole, and jobs nobody wants any more |
//! | `health` | suspects, ejected servers, servers that come and go |
//! | `overload` | servers that have too much work |
//! | `pitfalls` | what others fell into |
//! | `bench` | one job by hand |
//!
//! Whole fleets in virtual time are in `crates/lab/tests`.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod health;
#[cfg(test)]
mod idle;
#[cfg(test)]
mod job;
#[cfg(test)]
mod joins;
#[cfg(test)]
mod long_texts;
#[cfg(test)]
mod overload;
#[cfg(test)]
mod pitfalls;
mod plan;
#[cfg(test)]
mod probing;
#[cfg(test)]
mod races;
