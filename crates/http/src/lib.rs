//! The HTTP dialects of encoder servers over one door: TEI's, OpenAI's, Cohere's, Jina's and vLLM's, and that of
//! Weaviate's containers.
//!
//! [`routes`] takes any [`tower::Service`] that answers `sortie.v1.EncoderService` in process, finding its messages by
//! [`message_of`], and gives an [`axum::Router`]. A request's JSON becomes a message and its headers become metadata; the answer becomes JSON again. So
//! keys, lanes, deadlines, admission, limits, metrics and traces are those of the service, and a connection that closes
//! drops the call, which cancels it. There is no engine in here, and nothing that
//! knows of a fleet.
//!
//! Rules that hold in every dialect: `null` is absence; unknown fields are ignored; a field that would change the answer
//! and is not served is refused by its name; usage is the sum of what the items really used; one bad item fails the
//! request, with its place, unless the caller asked for partial answers. The table of all of it is `docs/http.md`.

#![forbid(unsafe_code)]

mod cohere;
mod door;
mod embed;
mod failure;
mod in_process;
mod models;
mod openai;
mod openapi;
mod options;
mod reply;
mod request;
mod rerank;
mod routes;
mod tei;
mod vllm;
mod weaviate;

pub use in_process::message_of;
pub use openapi::openapi;
pub use options::{HttpOptions, IsReady, Page};
pub use request::basic_password;
pub use routes::routes;
