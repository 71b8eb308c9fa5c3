//! The one structure of settings. A field is a key of the file, a flag (with
//! dashes) and a variable (`SORTIE_` and upper case); its default is in
//! [`defaults`], its row in `docs/configuration.md`, what it may be in
//! `config/validate.rs`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgAction, Args};
use serde::{Deserialize, Serialize};

use super::{ConfigDuration, LogFormat, ModelSpec, defaults};

/// Everything that can be set. Field names are the keys of the file, the flags (with dashes) and
/// the environment (`SORTIE_` and upper case).
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "SORTIE_LISTEN", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Write the bound address to this file once requests are taken
    #[arg(long, env = "SORTIE_ADDR_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr_file: Option<PathBuf>,
    /// Address of the admin port (metrics, probes, models); without it there is none
    #[arg(long, env = "SORTIE_ADMIN", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
    /// Write the bound address of the admin port to this file, before models load
    #[arg(long, env = "SORTIE_ADMIN_ADDR_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_addr_file: Option<PathBuf>,
    /// Let the admin port load, swap and unload models
    #[arg(long, env = "SORTIE_ADMIN_MODELS", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub admin_models: bool,
    /// File of `name:key` lines: callers must show one of the keys, and are that name's tenant
    #[arg(long, env = "SORTIE_API_KEYS", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_keys: Option<PathBuf>,
    /// File of `name:key` lines: whoever changes models over the admin port must show one of the keys
    #[arg(long, env = "SORTIE_ADMIN_KEYS", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_keys: Option<PathBuf>,
    /// Certificate chain in PEM; with it and `tls_key` the gRPC port speaks TLS only
    #[arg(long, env = "SORTIE_TLS_CERT", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// Private key in PEM, of `tls_cert`
    #[arg(long, env = "SORTIE_TLS_KEY", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// Authorities in PEM: callers must show a certificate signed by one of them (mutual TLS)
    #[arg(long, env = "SORTIE_TLS_CLIENT_CA", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_ca: Option<PathBuf>,
    /// How often files of keys and certificates are looked at for changes; SIGHUP looks at once
    #[arg(long, env = "SORTIE_RELOAD_INTERVAL", value_name = "TIME")]
    pub reload_interval: ConfigDuration,
    /// Connections open at once; more are closed as they come
    #[arg(long, env = "SORTIE_MAX_CONNECTIONS", value_name = "N")]
    pub max_connections: u32,
    /// Requests under way on one connection; a caller's library holds the others back
    #[arg(long, env = "SORTIE_MAX_CONCURRENT_STREAMS", value_name = "N")]
    pub max_concurrent_streams: u32,
    /// Bytes of one request's headers
    #[arg(long, env = "SORTIE_MAX_HEADER_BYTES", value_name = "N")]
    pub max_header_bytes: u32,
    /// Age, ± a tenth, at which a connection is asked to end with GOAWAY; 0s is never
    #[arg(long, env = "SORTIE_MAX_CONNECTION_AGE", value_name = "TIME")]
    pub max_connection_age: ConfigDuration,
    /// How long an aged connection may finish its requests before it is cut
    #[arg(long, env = "SORTIE_MAX_CONNECTION_AGE_GRACE", value_name = "TIME")]
    pub max_connection_age_grace: ConfigDuration,
    /// How often a silent connection is pinged; 0s is never
    #[arg(long, env = "SORTIE_KEEPALIVE_INTERVAL", value_name = "TIME")]
    pub keepalive_interval: ConfigDuration,
    /// How long a ping may stay unanswered before its connection is cut
    #[arg(long, env = "SORTIE_KEEPALIVE_TIMEOUT", value_name = "TIME")]
    pub keepalive_timeout: ConfigDuration,
    /// How long a new connection may take to finish TLS, and then to open HTTP/2
    #[arg(long, env = "SORTIE_HANDSHAKE_TIMEOUT", value_name = "TIME")]
    pub handshake_timeout: ConfigDuration,
    /// How long a request's message may take to come; 0s is for ever
    #[arg(long, env = "SORTIE_REQUEST_READ_TIMEOUT", value_name = "TIME")]
    pub request_read_timeout: ConfigDuration,
    /// How long a connection with an answer to take may take nothing before it is cut; 0s is for ever
    #[arg(long, env = "SORTIE_RESPONSE_WRITE_TIMEOUT", value_name = "TIME")]
    pub response_write_timeout: ConfigDuration,
    /// Devices to run on: cpu, cuda:N, several separated by commas, or cuda:all
    #[arg(long, env = "SORTIE_DEVICE")]
    pub device: String,
    /// Number format of native models on GPUs: f16, bf16 or f32
    #[arg(long, env = "SORTIE_PRECISION", value_name = "FORMAT")]
    pub precision: String,
    /// Most MiB of a GPU's memory for each model's work; 0 is all there is
    #[arg(long, env = "SORTIE_GPU_MEMORY_MIB", value_name = "MIB")]
    pub gpu_memory_mib: u64,
    /// Run small batches on GPUs by CUDA graphs, captured at start-up
    #[arg(long, env = "SORTIE_CUDA_GRAPHS", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub cuda_graphs: bool,
    /// GELU of native f16 models on GPUs: fused (inside the product, by tanh, corrected) or exact
    #[arg(long, env = "SORTIE_GELU", value_name = "HOW")]
    pub gelu: String,
    /// Threads ONNX Runtime uses inside one batch, per model; 0 is one a core
    #[arg(long, env = "SORTIE_THREADS", value_name = "N")]
    pub threads: usize,
    /// Threads that tokenize; 0 is one a core
    #[arg(long, env = "SORTIE_TOKENIZE_THREADS", value_name = "N")]
    pub tokenize_threads: usize,
    /// The ONNX Runtime library; without it ORT_DYLIB_PATH and the usual places are tried
    #[arg(long, env = "SORTIE_ORT_LIBRARY", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ort_library: Option<PathBuf>,
    /// Tokens in one batch on the device; 0 is 1,024 on processors and 16,384 on GPUs, 32,768 there for small models
    #[arg(long, env = "SORTIE_MAX_BATCH_TOKENS", value_name = "N")]
    pub max_batch_tokens: u32,
    /// Tokens that may wait in a model's queue
    #[arg(long, env = "SORTIE_MAX_QUEUE_TOKENS", value_name = "N")]
    pub max_queue_tokens: u64,
    /// Longest estimated wait that a request is taken with, with or without a deadline; a queue that stands is held
    /// shorter
    #[arg(long, env = "SORTIE_MAX_QUEUE_WAIT", value_name = "TIME")]
    pub max_queue_wait: ConfigDuration,
    /// Items in one request
    #[arg(long, env = "SORTIE_MAX_ITEMS", value_name = "N")]
    pub max_items: u32,
    /// Bytes of one message, either way
    #[arg(long, env = "SORTIE_MAX_MESSAGE_BYTES", value_name = "N")]
    pub max_message_bytes: u64,
    /// Bytes of the messages of one connection's requests, from their first byte to their answer
    #[arg(long, env = "SORTIE_MAX_CONNECTION_BYTES", value_name = "N")]
    pub max_connection_bytes: u64,
    /// Bytes of the token vectors that all requests bring along, once they are read as f32
    #[arg(long, env = "SORTIE_MAX_VECTOR_BYTES", value_name = "N")]
    pub max_vector_bytes: u64,
    /// Bytes of one text
    #[arg(long, env = "SORTIE_MAX_TEXT_BYTES", value_name = "N")]
    pub max_text_bytes: u64,
    /// Requests worked on at once
    #[arg(long, env = "SORTIE_MAX_CONCURRENT_REQUESTS", value_name = "N")]
    pub max_concurrent_requests: u32,
    /// Name of this process in answers; empty takes the host name and the port
    #[arg(long, env = "SORTIE_REPLICA", value_name = "NAME")]
    pub replica: String,
    /// How log lines look
    #[arg(long, env = "SORTIE_LOG_FORMAT", value_enum)]
    pub log_format: LogFormat,
    /// Which log lines are written, as in RUST_LOG
    #[arg(long, env = "SORTIE_LOG_FILTER", value_name = "FILTER")]
    pub log_filter: String,
    /// Where traces go, by OTLP over gRPC; without it the usual OTEL_EXPORTER_OTLP_ENDPOINT, or nowhere
    #[arg(long, env = "SORTIE_OTLP_ENDPOINT", value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// How long requests are still taken after a stop signal, with health already saying no
    #[arg(long, env = "SORTIE_DRAIN_GRACE", value_name = "TIME")]
    pub drain_grace: ConfigDuration,
    /// How long requests in flight may take once no more are taken
    #[arg(long, env = "SORTIE_DRAIN_TIMEOUT", value_name = "TIME")]
    pub drain_timeout: ConfigDuration,
    /// Run a few batches of each model before serving
    #[arg(long, env = "SORTIE_WARM_UP", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub warm_up: bool,
    /// Serve grpc.health.v1
    #[arg(long, env = "SORTIE_HEALTH", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub health: bool,
    /// Serve gRPC reflection, v1 and v1alpha
    #[arg(long, env = "SORTIE_REFLECTION", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub reflection: bool,
    /// A model to serve: `[name=]source[,max_length=N][,pooling=NAME][,prefer_onnx=BOOL][,onnx_file=FILE]`,
    /// where source is a folder or `org/repo[@revision]` on the model hub. Repeat it for more; in the
    /// environment separate them by semicolons
    #[arg(long = "model", env = "SORTIE_MODELS", value_name = "MODEL", value_delimiter = ';')]
    #[serde(rename = "model")]
    pub models: Vec<ModelSpec>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            listen: defaults::LISTEN,
            addr_file: None,
            admin: None,
            admin_addr_file: None,
            admin_models: defaults::ADMIN_MODELS,
            api_keys: None,
            admin_keys: None,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            reload_interval: defaults::RELOAD_INTERVAL,
            max_connections: defaults::MAX_CONNECTIONS,
            max_concurrent_streams: defaults::MAX_CONCURRENT_STREAMS,
            max_header_bytes: defaults::MAX_HEADER_BYTES,
            max_connection_age: defaults::MAX_CONNECTION_AGE,
            max_connection_age_grace: defaults::MAX_CONNECTION_AGE_GRACE,
            keepalive_interval: defaults::KEEPALIVE_INTERVAL,
            keepalive_timeout: defaults::KEEPALIVE_TIMEOUT,
            handshake_timeout: defaults::HANDSHAKE_TIMEOUT,
            request_read_timeout: defaults::REQUEST_READ_TIMEOUT,
            response_write_timeout: defaults::RESPONSE_WRITE_TIMEOUT,
            device: defaults::DEVICE.to_owned(),
            precision: defaults::PRECISION.to_owned(),
            gpu_memory_mib: defaults::GPU_MEMORY_MIB,
            cuda_graphs: defaults::CUDA_GRAPHS,
            gelu: defaults::GELU.to_owned(),
            threads: defaults::THREADS,
            tokenize_threads: defaults::TOKENIZE_THREADS,
            ort_library: None,
            max_batch_tokens: defaults::MAX_BATCH_TOKENS,
            max_queue_tokens: defaults::MAX_QUEUE_TOKENS,
            max_queue_wait: defaults::MAX_QUEUE_WAIT,
            max_items: defaults::MAX_ITEMS,
            max_message_bytes: defaults::MAX_MESSAGE_BYTES,
            max_connection_bytes: defaults::MAX_CONNECTION_BYTES,
            max_vector_bytes: defaults::MAX_VECTOR_BYTES,
            max_text_bytes: defaults::MAX_TEXT_BYTES,
            max_concurrent_requests: defaults::MAX_CONCURRENT_REQUESTS,
            replica: String::new(),
            log_format: defaults::LOG_FORMAT,
            log_filter: defaults::LOG_FILTER.to_owned(),
            otlp_endpoint: None,
            drain_grace: defaults::DRAIN_GRACE,
            drain_timeout: defaults::DRAIN_TIMEOUT,
            warm_up: defaults::WARM_UP,
            health: defaults::HEALTH,
            reflection: defaults::REFLECTION,
            models: Vec::new(),
        }
    }
}
