//! The settings that every process of ours that listens has. A field is a key of the file, a flag (with
//! dashes) and a variable (`SORTIE_` and upper case); its default is in
//! [`defaults`], its row in `docs/configuration.md`, what it may be in
//! `config/validate.rs`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgAction, Args};
use serde::{Deserialize, Serialize};

use super::{ConfigDuration, InlineKeys, LogFormat, defaults};

/// Settings of the frontend. Field names are the keys of the file, the flags (with dashes) and
/// the environment (`SORTIE_` and upper case). A program flattens them into its own.
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct FrontendConfig {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "SORTIE_LISTEN", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Write the bound address to this file once requests are taken
    #[arg(long, env = "SORTIE_ADDR_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr_file: Option<PathBuf>,
    /// Address of the HTTP port, where other programs' clients are served; without it there is none
    #[arg(long, env = "SORTIE_HTTP", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
    /// Write the bound address of the HTTP port to this file
    #[arg(long, env = "SORTIE_HTTP_ADDR_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_addr_file: Option<PathBuf>,
    /// Another name of a served model over HTTP, as `NAME=MODEL`; repeat it or separate with commas
    #[arg(long, env = "SORTIE_HTTP_ALIAS", value_name = "NAME=MODEL", value_delimiter = ',')]
    pub http_alias: Vec<String>,
    /// The model of HTTP requests that name none where several would do
    #[arg(long, env = "SORTIE_HTTP_DEFAULT_MODEL", value_name = "MODEL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_default_model: Option<String>,
    /// Cut texts that are too long where an HTTP request does not say
    #[arg(long, env = "SORTIE_HTTP_TRUNCATE", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub http_truncate: bool,
    /// Take token ids in /v1/embeddings: callers must have made them with the served model's vocabulary
    #[arg(long, env = "SORTIE_HTTP_TOKEN_IDS", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub http_token_ids: bool,
    /// Send documents back with their scores where an HTTP request does not say; without it as each dialect does
    #[arg(long, env = "SORTIE_HTTP_RETURN_DOCUMENTS", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_return_documents: Option<bool>,
    /// Show browsers the page at / of the HTTP and the admin port, on loopback or with a key
    #[arg(long, env = "SORTIE_PAGE", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub page: bool,
    /// Address of the admin port (metrics, probes, models); without it there is none
    #[arg(long, env = "SORTIE_ADMIN", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
    /// Write the bound address of the admin port to this file, before models load
    #[arg(long, env = "SORTIE_ADMIN_ADDR_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_addr_file: Option<PathBuf>,
    /// File of `name:key` lines: callers must show one of the keys, and are that name's tenant
    #[arg(long, env = "SORTIE_API_KEYS", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_keys: Option<PathBuf>,
    /// Keys that are in no file, where `api_keys` names none: no flag, no variable and no key of the file says them.
    #[arg(skip)]
    #[serde(skip)]
    pub inline_keys: Option<InlineKeys>,
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
    /// Bytes of one message, either way
    #[arg(long, env = "SORTIE_MAX_MESSAGE_BYTES", value_name = "N")]
    pub max_message_bytes: u64,
    /// Bytes of the messages of one connection's requests, from their first byte to their answer
    #[arg(long, env = "SORTIE_MAX_CONNECTION_BYTES", value_name = "N")]
    pub max_connection_bytes: u64,
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
    /// Serve grpc.health.v1
    #[arg(long, env = "SORTIE_HEALTH", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub health: bool,
    /// Serve gRPC reflection, v1 and v1alpha
    #[arg(long, env = "SORTIE_REFLECTION", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub reflection: bool,
}

impl Default for FrontendConfig {
    fn default() -> Self {
        FrontendConfig {
            listen: defaults::LISTEN,
            addr_file: None,
            http: None,
            http_addr_file: None,
            http_alias: Vec::new(),
            http_default_model: None,
            http_truncate: defaults::HTTP_TRUNCATE,
            http_token_ids: defaults::HTTP_TOKEN_IDS,
            http_return_documents: None,
            page: defaults::PAGE,
            admin: None,
            admin_addr_file: None,
            api_keys: None,
            inline_keys: None,
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
            max_message_bytes: defaults::MAX_MESSAGE_BYTES,
            max_connection_bytes: defaults::MAX_CONNECTION_BYTES,
            max_concurrent_requests: defaults::MAX_CONCURRENT_REQUESTS,
            replica: String::new(),
            log_format: defaults::LOG_FORMAT,
            log_filter: defaults::LOG_FILTER.to_owned(),
            otlp_endpoint: None,
            drain_grace: defaults::DRAIN_GRACE,
            drain_timeout: defaults::DRAIN_TIMEOUT,
            health: defaults::HEALTH,
            reflection: defaults::REFLECTION,
        }
    }
}
