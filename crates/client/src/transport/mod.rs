//! Connections to servers: HTTP/2 over TCP or TLS, made in the background and kept.
//!
//! ```text
//! Server --has--> slots --each kept by--> a task: dial, check, drive, back off, again
//!    |
//!    +--lease()--> Lease (a stub on the least busy connection, one stream of it)
//! ```
//!
//! These connections are hyper's own and not a tonic `Channel`, for a channel hides
//! what dispatch must know: whether it is connected (a channel whose peer is dead
//! counts as ready: tonic issues 643 and 2839) and how many streams the peer allows
//! (past `MAX_CONCURRENT_STREAMS` calls wait without a word: gRFC A105).
//!
//! Invariant: a server counts as connected only while it has a connection on which
//! it answered a call.

mod address;
mod connections;
mod dial;
mod reconnect;
mod server;
mod tls;
mod wire;

pub(crate) use address::{Address, redact};
pub(crate) use connections::ConnectionObserver;
pub(crate) use dial::Transport;
pub(crate) use server::Server;
pub use tls::Tls;
pub(crate) use wire::Stub;
