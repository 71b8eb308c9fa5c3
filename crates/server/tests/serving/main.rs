//! The server over real connections, with tiny models. Every row of
//! `docs/errors.md` that a caller can provoke has its test in `refusals`, `items`,
//! `overload` or `lifecycle`.

#![cfg(test)]

mod admin;
mod answers;
mod balancers;
mod connections;
mod folders;
mod gateway;
mod http;
mod items;
mod keys;
mod life;
mod lifecycle;
mod metrics;
mod oracle;
mod overload;
mod process;
mod refusals;
mod support;
mod tei;
mod tls;
mod traces;
