//! The flags and variables of text-embeddings-inference's router, by their names and with its defaults: those of 1.9,
//! and what came after it until July 2026. `docs/from-tei.md` has a row for each.

use std::ffi::OsString;

use clap::{ArgAction, Parser};

/// Serve one model by the flags and variables of text-embeddings-inference.
///
/// SORTIE_… variables and the file of SORTIE_CONFIG say more, and beat what is said here; so do this program's own
/// flags, after --.
#[derive(Debug, Parser)]
#[command(name = "sortie-server tei", bin_name = "sortie-server tei", version)]
pub(super) struct TeiFlags {
    /// Name on the model hub, or a folder
    #[arg(long, env = "MODEL_ID")]
    pub(super) model_id: Option<String>,
    /// Branch, tag or commit on the hub
    #[arg(long, env = "REVISION")]
    pub(super) revision: Option<String>,
    /// Threads that tokenize
    #[arg(long, env = "TOKENIZATION_WORKERS")]
    pub(super) tokenization_workers: Option<usize>,
    /// float16, bfloat16 or float32; processors have no float16
    #[arg(long, env = "DTYPE")]
    pub(super) dtype: Option<String>,
    /// Name that callers ask for; without it the model id
    #[arg(long, env = "SERVED_MODEL_NAME")]
    pub(super) served_model_name: Option<String>,
    /// cls, mean or last-token, instead of the folder's own
    #[arg(long, env = "POOLING")]
    pub(super) pooling: Option<String>,
    /// Requests worked on at once
    #[arg(long, env = "MAX_CONCURRENT_REQUESTS")]
    pub(super) max_concurrent_requests: Option<u32>,
    /// Tokens in one batch
    #[arg(long, env = "MAX_BATCH_TOKENS")]
    pub(super) max_batch_tokens: Option<u32>,
    /// Passed over: batches are counted in tokens
    #[arg(long, env = "MAX_BATCH_REQUESTS")]
    pub(super) max_batch_requests: Option<usize>,
    /// Texts in one request
    #[arg(long, env = "MAX_CLIENT_BATCH_SIZE")]
    pub(super) max_client_batch_size: Option<u32>,
    /// Cut texts that are too long where a request does not say
    #[arg(long, env = "AUTO_TRUNCATE", action = ArgAction::Set, default_value_t = true, num_args = 0..=1, default_missing_value = "true")]
    pub(super) auto_truncate: bool,
    /// Refused: requests say `prompt_name`
    #[arg(long, env = "DEFAULT_PROMPT_NAME")]
    pub(super) default_prompt_name: Option<String>,
    /// Refused: requests say `prompt_name`
    #[arg(long, env = "DEFAULT_PROMPT")]
    pub(super) default_prompt: Option<String>,
    /// Refused: the folder's modules.json decides
    #[arg(long, env = "DENSE_PATH")]
    pub(super) dense_path: Option<String>,
    /// As --hf-token, by its old name
    #[arg(long, env = "HF_API_TOKEN", hide_env_values = true)]
    pub(super) hf_api_token: Option<String>,
    /// Token of the model hub
    #[arg(long, env = "HF_TOKEN", hide_env_values = true)]
    pub(super) hf_token: Option<String>,
    /// Address of the ports; what is no IP address, as a container's name, is every address
    #[arg(long, env = "HOSTNAME", default_value = "0.0.0.0")]
    pub(super) hostname: String,
    /// HTTP port
    #[arg(long, short, env = "PORT", default_value_t = 3000)]
    pub(super) port: u16,
    /// Passed over: there is no second process to talk to
    #[arg(long, env = "UDS_PATH")]
    pub(super) uds_path: Option<String>,
    /// Folder of models from the hub
    #[arg(long, env = "HUGGINGFACE_HUB_CACHE")]
    pub(super) huggingface_hub_cache: Option<String>,
    /// Bytes of one request
    #[arg(long, env = "PAYLOAD_LIMIT")]
    pub(super) payload_limit: Option<u64>,
    /// Key that callers must show
    #[arg(long, env = "API_KEY", hide_env_values = true)]
    pub(super) api_key: Option<String>,
    /// Log lines in JSON
    #[arg(long, env = "JSON_OUTPUT", action = ArgAction::SetTrue)]
    pub(super) json_output: bool,
    /// Passed over: log lines have no spans
    #[arg(long, env = "DISABLE_SPANS", action = ArgAction::SetTrue)]
    pub(super) disable_spans: bool,
    /// Where traces go, by OTLP over gRPC
    #[arg(long, env = "OTLP_ENDPOINT")]
    pub(super) otlp_endpoint: Option<String>,
    /// Name of this process in traces
    #[arg(long, env = "OTLP_SERVICE_NAME")]
    pub(super) otlp_service_name: Option<String>,
    /// Admin port, with the metrics
    #[arg(long, env = "PROMETHEUS_PORT", default_value_t = 9000)]
    pub(super) prometheus_port: u16,
    /// Refused: no other site's pages may call
    #[arg(long, env = "CORS_ALLOW_ORIGIN")]
    pub(super) cors_allow_origin: Vec<String>,
    /// trace, debug, info, warn or error; a variable only
    #[arg(skip)]
    pub(super) log_level: Option<String>,
    /// This program's own flags
    #[arg(last = true)]
    pub(super) own: Vec<OsString>,
}
