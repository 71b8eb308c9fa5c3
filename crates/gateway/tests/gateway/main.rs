//! The gateway over real sockets, with scripted servers behind it.

#![cfg(test)]

mod answers;
mod client;
mod http;
mod life;
mod page;
mod refusals;
mod reuse;
mod support;
mod tei;
