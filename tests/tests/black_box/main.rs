//! The real server program from outside: signals, and peers that behave badly.
//!
//! It serves a timed model, so that what is tested is the server and not this machine. The program is built once, by
//! cargo itself, into the folder this test was built into.

#![cfg(test)]
#![cfg(unix)]

mod drain;
mod foreign;
mod hostile;
mod idle;
mod losers;
mod operators;
mod support;
