//! Calls encoder models (rerankers, embedders, classifiers, taggers) on a fleet of
//! sortie servers.
//!
//! One call is one *job*. It is cut into *chunks* that should end together, larger ones
//! for faster and emptier servers; each goes to another server, and the answers come back
//! as one, in request order. A chunk whose server dies goes to another at once. One deadline holds for all of it.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (first, second) = (sortie_testkit::TestServer::start().await?, sortie_testkit::TestServer::start().await?);
//! # let (first, second) = (first.address(), second.address());
//! let client = sortie_client::Client::builder()
//!     // For example "http://10.0.0.1:50051".
//!     .endpoints([first, second])
//!     .connect()
//!     .await?;
//! let answer = client.rerank("parse command line arguments", ["clap", "serde", "tokio"]).await?;
//! for best in answer.ranking() {
//!     println!("{:>8.3} document {}", best.score, best.index);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | to | see |
//! |---|---|
//! | score, embed, classify, tag, compare, tokenize and back | [`Client::rerank`], [`Client::embed`], [`Client::embed_tokens`], [`Client::embed_sparse`], [`Client::classify`], [`Client::tag`], [`Client::similarity`], [`Client::tokenize`], [`Client::detokenize`] |
//! | take answers before the last one | [`Call::join`], [`Call::stream`] |
//! | work through millions of texts | [`Client::bulk`] |
//! | find servers by name, or follow a list | [`Discovery`] |
//! | set certificates, tokens, trace context | [`Tls`], [`ClientBuilder::bearer_token_file`], [`ClientBuilder::trace_context`] |
//! | pass messages of the contract on | [`Client::send`], [`Client::ask_servers`] |
//! | see what it knows and does | [`Client::stats`], [`Report`], the `metrics` and `tracing` facades |
//!
//! # What holds
//!
//! * A score that is missing is `None`, with a reason in [`Report::errors`]. It is never made up.
//! * Dropping a call's future cancels it, in the servers' queues too.
//! * A chunk that is late goes to another server as well, within a budget; the first success counts.
//! * Answers of two revisions of a model are never mixed without saying so ([`RevisionPolicy`]).
//! * No call takes longer than its deadline.
//!
//! # Features
//!
//! * `zstd`: `Compression::Zstd`; compiles C. Off by default.

#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

mod background;
mod broadcast;
mod builder;
mod bulk;
mod call;
mod client;
mod compression;
mod credentials;
mod discovery;
mod error;
mod failure;
mod first_contact;
mod input;
mod job;
mod kept_vectors;
mod message;
mod metadata;
mod metrics;
mod model;
mod options;
mod probe;
mod report;
mod rpc;
mod state;
mod stats;
mod trace_context;
mod transport;
mod vector_format;
mod windows;

pub use broadcast::PerEndpoint;
pub use builder::{
    ClientBuilder, DEFAULT_CONNECT_TIMEOUT, DEFAULT_CONNECTIONS_PER_ENDPOINT, DEFAULT_DEADLINE,
    DEFAULT_DESCRIBE_TIMEOUT, DEFAULT_KEEPALIVE_INTERVAL, DEFAULT_KEEPALIVE_TIMEOUT,
    DEFAULT_MAX_CONNECTIONS_PER_ENDPOINT, DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_STREAMS_PER_CONNECTION,
};
pub use bulk::{
    BULK_DEADLINE, BULK_GIVE_UP_AFTER, Bulk, BulkRun, MAX_SLICE_BYTES, Progress, SLICES_PER_SERVER, SliceAnswer,
};
pub use call::{Call, CallFuture, Rpc};
pub use client::Client;
pub use compression::Compression;
pub use credentials::TOKEN_FILE_PERIOD;
pub use discovery::{Discovery, LOOKUP_PERIOD, MIN_LOOKUP_GAP};
pub use error::{Error, ErrorKind, FieldViolation};
pub use input::{Activation, Input, Role, TextOptions, TokenIds, Truncation, TruncationSide};
pub use job::{AnswerStream, PartialAnswer};
pub use kept_vectors::{KeptFormat, KeptVectors};
pub use message::{AnswerName, AnswerStore, FleetMessage, Message, MessageAnswer, MessageOptions};
pub use metadata::{DEADLINE_MARGIN_SHARE, Lane, MAX_DEADLINE_MARGIN, MAX_VALUE_BYTES, MIN_DEADLINE_MARGIN};
pub use model::{ModelInfo, ModelLimits, ModelLoad, ModelState, Prompt, Task};
pub use options::{CallOptions, Join, RevisionPolicy};
pub use report::{BatchReport, ChunkReport, ItemError, LostAttempt, Report};
pub use rpc::{
    classify::{Classified, Classify},
    detokenize::{Detokenize, Detokenized},
    embed::{Embed, Embedded, Pooling},
    embed_tokens::{EmbedTokens, TokenVectors, TokensEmbedded},
    models::{GetModel, ListModels, Probe},
    rerank::{Ranked, Rerank, Reranked, Scoring},
    similarity::{Similarities, Similarity},
    sparse::{EmbedSparse, SparseEmbedded, SparseVector},
    tag::{Aggregation, Span, Tag, Tagged, TaggedText},
    tokenize::{Token, Tokenize, Tokenized},
    vectors::{Quantization, Ranges},
};
pub use sortie_dispatch::{DispatchConfig, DispatchConfigError, DispatchCounters};
pub use stats::{EndpointStats, ModelStats, Stats};
pub use trace_context::TraceContext;
pub use transport::Tls;
pub use vector_format::VectorFormat;
pub use windows::{WindowScore, Windows};
