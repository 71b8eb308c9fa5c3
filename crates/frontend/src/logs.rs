//! Log lines on standard error, as text or JSON. Texts sent by callers are never
//! logged, nor are keys; a request's line has its sizes only.

use std::io::IsTerminal as _;

use tonic::Code;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    config::{FrontendConfig, LogFormat},
    context::RequestContext,
    traces::trace_id,
};

/// These write headers, and with them keys, at finer levels; whatever the filter says, they do not.
const QUIET: [&str; 3] = ["h2=info", "hyper=info", "hyper_util=info"];

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LogError {
    /// The filter makes no sense.
    #[error("log_filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Somebody else set a log up first.
    #[error("a log is set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets the process's log up, once.
///
/// # Errors
/// When the filter makes no sense or a log is there already.
pub(crate) fn init(config: &FrontendConfig) -> Result<(), LogError> {
    let mut filter = EnvFilter::try_new(&config.log_filter)?;
    for quiet in QUIET {
        filter = filter.add_directive(quiet.parse()?);
    }
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init()?,
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}

/// The one line of a request.
pub(crate) fn request(rpc: &str, context: &RequestContext, code: Code) {
    let (items, tokens) = context.size();
    let model = context.model_name();
    let us = context.arrived.elapsed().as_micros() as u64;
    let caller = &context.caller;
    tracing::debug!(
        rpc,
        model,
        ?code,
        items,
        tokens,
        us,
        job = caller.job_id,
        tenant = caller.tenant,
        attempt = caller.attempt,
        trace = context.parent.as_ref().and_then(trace_id).map(tracing::field::display),
        "request"
    );
}
