//! TEI's flags as settings of ours.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

use sortie_frontend::config::{ConfigError, LogFormat};

use super::flags::TeiFlags;
use crate::config::{ModelSpec, PoolingName, ServerConfig, defaults};

/// What TEI's flags come to.
#[derive(Debug)]
pub(super) struct TeiSettings {
    /// Our settings, before the file and our own flags and variables.
    pub(super) settings: ServerConfig,
    /// Variables that libraries read, by name.
    pub(super) variables: Vec<(&'static str, String)>,
    /// What is not looked at, in words.
    pub(super) passed_over: Vec<String>,
}

/// The variable that the model hub's library reads its token from.
pub(super) const HUB_TOKEN: &str = "HF_TOKEN";

/// What TEI listens on where it is told no address.
const EVERY_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Translates them.
///
/// # Errors
/// Names the first that is not served.
pub(super) fn translate(flags: TeiFlags) -> Result<TeiSettings, ConfigError> {
    refuse(&flags)?;
    let mut settings = ServerConfig::default();
    // As TEI has it: a container's name, which Docker puts into HOSTNAME, is no address.
    let host = flags.hostname.trim().parse().unwrap_or(EVERY_ADDRESS);
    settings.frontend.http = Some(SocketAddr::new(host, flags.port));
    settings.frontend.admin = Some(SocketAddr::new(host, flags.prometheus_port));
    settings.frontend.http_truncate = flags.auto_truncate;
    settings.models.extend(model(&flags)?);
    if let Some(workers) = flags.tokenization_workers {
        settings.tokenize_threads = workers;
    }
    if let Some(dtype) = &flags.dtype {
        settings.precision = precision(dtype)?.to_owned();
    }
    if let Some(requests) = flags.max_concurrent_requests {
        settings.frontend.max_concurrent_requests = requests;
    }
    if let Some(tokens) = flags.max_batch_tokens {
        settings.max_batch_tokens = tokens;
    }
    if let Some(items) = flags.max_client_batch_size {
        settings.max_items = items;
    }
    if let Some(bytes) = flags.payload_limit {
        settings.frontend.max_message_bytes = bytes;
        // What has to be at most as large, and at least.
        settings.max_text_bytes = settings.max_text_bytes.min(bytes);
        settings.frontend.max_connection_bytes = settings.frontend.max_connection_bytes.max(bytes);
        settings.max_vector_bytes = settings.max_vector_bytes.max(bytes.saturating_mul(defaults::VECTOR_GROWTH));
    }
    if flags.json_output {
        settings.frontend.log_format = LogFormat::Json;
    }
    if let Some(level) = &flags.log_level {
        settings.frontend.log_filter = level.to_ascii_lowercase();
    }
    settings.frontend.otlp_endpoint.clone_from(&flags.otlp_endpoint);
    let variables = [
        (HUB_TOKEN, flags.hf_token.clone().or_else(|| flags.hf_api_token.clone())),
        ("HF_HUB_CACHE", flags.huggingface_hub_cache.clone()),
        ("OTEL_SERVICE_NAME", flags.otlp_service_name.clone()),
    ];
    let variables = variables
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.filter(|value| !value.trim().is_empty())?)))
        .collect();
    Ok(TeiSettings { settings, variables, passed_over: passed_over(&flags) })
}

/// The model with what is said of it.
fn model(flags: &TeiFlags) -> Result<Option<ModelSpec>, ConfigError> {
    let Some(id) = &flags.model_id else { return Ok(None) };
    let on_hub = flags.revision.as_ref().filter(|_| !Path::new(id).is_dir());
    let pooling = match flags.pooling.as_deref() {
        None => None,
        Some("cls") => Some(PoolingName::Cls),
        Some("mean") => Some(PoolingName::Mean),
        Some("last-token") => Some(PoolingName::Last),
        Some("splade") => {
            let why =
                "a masked-language model without a pooling of its own is served as SPLADE by itself; leave it out";
            return Err(ConfigError::invalid("POOLING (--pooling)", format!("splade is not set from outside: {why}")));
        }
        Some(other) => {
            let why = format!("{other:?} is not one of cls, mean, last-token, splade");
            return Err(ConfigError::invalid("POOLING (--pooling)", why));
        }
    };
    Ok(Some(ModelSpec {
        name: flags.served_model_name.clone().unwrap_or_else(|| id.clone()),
        path: on_hub.map_or_else(|| id.clone(), |revision| format!("{id}@{revision}")),
        max_length: None,
        pooling,
        prefer_onnx: false,
        onnx_file: None,
    }))
}

/// Our name of a number format.
fn precision(dtype: &str) -> Result<&'static str, ConfigError> {
    match dtype {
        "float16" => Ok("f16"),
        "bfloat16" => Ok("bf16"),
        "float32" => Ok("f32"),
        other => {
            let why = format!("{other:?} is not one of float16, bfloat16, float32");
            Err(ConfigError::invalid("DTYPE (--dtype)", why))
        }
    }
}

/// What would change an answer, or let somebody in, and is not served.
fn refuse(flags: &TeiFlags) -> Result<(), ConfigError> {
    let prompt = "not served: send prompt_name (or input_type) with each request, or write default_prompt_name into the model's \
                  config_sentence_transformers.json";
    let refused = [
        ("DEFAULT_PROMPT_NAME (--default-prompt-name)", flags.default_prompt_name.is_some(), prompt),
        ("DEFAULT_PROMPT (--default-prompt)", flags.default_prompt.is_some(), prompt),
        (
            "DENSE_PATH (--dense-path)",
            flags.dense_path.is_some(),
            "not served: the folder's modules.json says which Dense modules there are; name the one that is meant there",
        ),
        (
            "CORS_ALLOW_ORIGIN (--cors-allow-origin)",
            !flags.cors_allow_origin.is_empty(),
            "not served: pages of other sites may not call; let a proxy before the server say who may",
        ),
    ];
    match refused.into_iter().find(|(_, there, _)| *there) {
        Some((name, _, why)) => Err(ConfigError::invalid(name, why)),
        None => Ok(()),
    }
}

/// What changes no answer and has no meaning here.
fn passed_over(flags: &TeiFlags) -> Vec<String> {
    let folder = flags.model_id.as_deref().is_some_and(|id| Path::new(id).is_dir());
    let said = [
        ("REVISION (--revision)", flags.revision.is_some() && folder, "MODEL_ID is a folder, which has no revisions"),
        (
            "MAX_BATCH_REQUESTS (--max-batch-requests)",
            flags.max_batch_requests.is_some(),
            "batches are counted in tokens alone",
        ),
        ("UDS_PATH (--uds-path)", flags.uds_path.is_some(), "there is no second process to talk to"),
        ("DISABLE_SPANS (--disable-spans)", flags.disable_spans, "log lines have no spans"),
    ];
    said.into_iter()
        .filter(|(_, there, _)| *there)
        .map(|(name, _, why)| format!("{name} is passed over: {why}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    fn translated(line: &[&str]) -> TeiSettings {
        translate(TeiFlags::parse_from(["tei"].iter().chain(line))).unwrap()
    }

    #[test]
    fn a_model_of_the_hub_keeps_its_whole_name() {
        let said = translated(&["--model-id", "org/repo", "--revision", "refs/pr/2", "--pooling", "last-token"]);
        let model = &said.settings.models[0];
        assert_eq!((model.name.as_str(), model.path.as_str()), ("org/repo", "org/repo@refs/pr/2"));
        assert_eq!(model.pooling, Some(PoolingName::Last));
        assert!(said.passed_over.is_empty());
    }

    #[test]
    fn the_document_has_a_row_for_every_flag_and_variable_and_no_other() {
        let document = include_str!("../../../../docs/from-tei.md");
        let rows = document.lines().filter(|line| line.starts_with("| `--") || line.starts_with("| – | `"));
        let written: BTreeSet<String> =
            rows.map(|row| row.split('|').skip(1).take(2).map(str::trim).collect::<Vec<_>>().join(" ")).collect();
        let command = TeiFlags::command();
        let flags = command
            .get_arguments()
            .filter_map(|arg| Some(format!("`--{}` `{}`", arg.get_long()?, arg.get_env()?.to_str()?)));
        let read: BTreeSet<String> = flags.chain([format!("– `{}`", super::super::LOG_LEVEL)]).collect();
        assert_eq!(written, read);
    }

    #[test]
    fn a_folder_has_no_revision() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_str().unwrap();
        let said = translated(&["--model-id", folder, "--revision", "main", "--served-model-name", "m"]);
        assert_eq!((said.settings.models[0].name.as_str(), said.settings.models[0].path.as_str()), ("m", folder));
        assert!(said.passed_over[0].starts_with("REVISION"), "{:?}", said.passed_over);
    }

    #[test]
    fn a_containers_name_is_every_address() {
        let http = |host: &str| translated(&["--hostname", host, "--port", "80"]).settings.frontend.http.unwrap();
        assert_eq!(http("3f2a9c"), "0.0.0.0:80".parse().unwrap());
        assert_eq!(http("127.0.0.1"), "127.0.0.1:80".parse().unwrap());
        assert_eq!(http("::1"), "[::1]:80".parse().unwrap());
    }

    #[test]
    fn nothing_that_would_change_an_answer_is_passed_over() {
        for (line, name) in [
            (["--default-prompt-name", "query"], "DEFAULT_PROMPT_NAME"),
            (["--default-prompt", "query: "], "DEFAULT_PROMPT"),
            (["--dense-path", "2_Dense_512"], "DENSE_PATH"),
            (["--cors-allow-origin", "*"], "CORS_ALLOW_ORIGIN"),
            (["--pooling", "splade"], "POOLING"),
            (["--pooling", "max"], "POOLING"),
            (["--dtype", "int8"], "DTYPE"),
        ] {
            let line = ["--model-id", "org/repo"].iter().chain(&line).copied().collect::<Vec<_>>();
            let error = translate(TeiFlags::parse_from(["tei"].iter().chain(&line))).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name} (--")), "{error}");
        }
    }
}
