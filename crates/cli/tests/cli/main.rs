//! Black-box tests of the built binary.

mod support;
mod usage;
