//! The real programs from outside: signals, callers in numbers, and peers that behave badly.
//!
//! They serve a timed model, so that what is tested is they and not this machine. They are built once, by
//! cargo itself, into the folder this test was built into.

#![cfg(test)]
#![cfg(unix)]

mod drain;
mod foreign;
mod gateway;
mod hostile;
mod idle;
mod losers;
mod operators;
mod support;
