//! Tests that look at several crates at once; they live in `tests/`.
//!
//! * `dependency_direction`: which crate may reach which.
//! * `black_box`: the real server program, signalled and mistreated.
//! * `layout`: what every source file must have.
