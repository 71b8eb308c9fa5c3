//! Tests that look at several crates at once; they live in `tests/`.
//!
//! * `dependency_direction`: which crate may reach which.
//! * `layout`: what every source file must have.
