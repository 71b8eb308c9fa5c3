//! The way of one call of `tei.v1` through `sortie.v1`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use sortie_frontend::{DOMAIN, ServeError, Stack};
use sortie_proto::{
    metadata as keys,
    tei::{Metadata, TruncationDirection},
    v1::{self, Input, encoder_service_client::EncoderServiceClient, input::Kind},
};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue},
};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::catalog::{Catalog, FleetModel};

/// Metadata that goes along: who calls, from where, by when, and what it says of itself.
const PASSED_ON: [&str; 9] = [
    "authorization",
    "x-api-key",
    "traceparent",
    "tracestate",
    "grpc-timeout",
    keys::JOB_ID,
    keys::LANE,
    keys::TENANT,
    keys::MODEL,
];

/// Reasons of items whose fault is the model's or the device's and not the text's.
const OUR_FAULT: [&str; 4] = ["BAD_SEQUENCE", "NON_FINITE_OUTPUT", "RUN_FAILED", "UNSUPPORTED_OUTPUT"];

/// All services of `tei.v1`.
#[derive(Clone, Debug)]
pub(super) struct TeiCalls {
    stub: EncoderServiceClient<Stack>,
    catalog: Arc<Catalog>,
    pub(super) max_message_bytes: usize,
    pub(super) max_concurrent_requests: u32,
}

impl TeiCalls {
    pub(super) fn new(
        stack: Stack,
        catalog: Arc<Catalog>,
        max_message_bytes: usize,
        max_concurrent_requests: u32,
    ) -> Self {
        let stub = EncoderServiceClient::new(stack)
            .max_decoding_message_size(max_message_bytes)
            .max_encoding_message_size(max_message_bytes);
        Self { stub, catalog, max_message_bytes, max_concurrent_requests }
    }

    /// A client of the stack.
    pub(super) fn stub(&self) -> EncoderServiceClient<Stack> {
        self.stub.clone()
    }

    /// The model that answers `rpc` of the contract: the one that the metadata names, else the only one.
    ///
    /// # Errors
    /// Where none answers it, or several do.
    pub(super) fn model(&self, metadata: &MetadataMap, rpc: &str) -> Result<Arc<FleetModel>, Status> {
        let named = metadata.get(keys::MODEL).and_then(|value| value.to_str().ok()).filter(|name| !name.is_empty());
        if let Some(name) = named {
            return Ok(self.catalog.get(name)?);
        }
        let answers = |model: &Arc<FleetModel>| model.info.rpcs.iter().any(|known| known == rpc);
        let mut able: Vec<_> = self.catalog.all().into_iter().filter(answers).collect();
        match (able.pop(), able.len()) {
            (Some(only), 0) => Ok(only),
            (Some(last), _) => {
                able.push(last);
                let served = able.iter().map(|model| model.info.name.clone()).collect();
                Err(ServeError::ModelNotNamed { served }.into())
            }
            (None, _) => {
                // Nothing at all is served, or nothing that does this.
                let refused = |refusal| match refusal {
                    ServeError::ModelNotNamed { served } => {
                        let served = served.join(", ");
                        ServeError::NotServed(format!("no model of the fleet answers {rpc}: {served}"))
                    }
                    other => other,
                };
                self.catalog.get("").map_err(refused).map_err(Status::from)
            }
        }
    }
}

/// A message for the stack, with what of the caller's metadata goes along.
pub(super) fn passed_on<T>(message: T, metadata: &MetadataMap) -> Request<T> {
    let mut request = Request::new(message);
    for key in PASSED_ON {
        if let Some(value) = metadata.get(key)
            && let Ok(key) = key.parse::<MetadataKey<Ascii>>()
        {
            request.metadata_mut().insert(key, value.clone());
        }
    }
    request
}

/// A text.
pub(super) fn text(text: impl Into<String>) -> Input {
    Input { kind: Some(Kind::Text(text.into())) }
}

/// How a text is made to fit: `cut` gives way where it is too long, or nothing does.
pub(super) fn options(
    truncate: bool,
    cut: v1::Truncation,
    direction: i32,
    prompt_name: Option<String>,
) -> Result<v1::TextOptions, Status> {
    let direction = TruncationDirection::try_from(direction)
        .map_err(|_| ServeError::bad_field("truncation_direction", format!("{direction} is no direction")))?;
    let side = match direction {
        TruncationDirection::Right => v1::TruncationSide::Right,
        TruncationDirection::Left => v1::TruncationSide::Left,
    };
    let truncation = if truncate { cut } else { v1::Truncation::Error };
    Ok(v1::TextOptions {
        truncation: truncation.into(),
        truncation_side: side.into(),
        prompt_name: prompt_name.unwrap_or_default(),
        ..v1::TextOptions::default()
    })
}

/// The first text that was not answered, as the call's refusal. `field` names the list, if it is one.
pub(super) fn whole(items: Option<&v1::ItemInfo>, field: Option<&str>) -> Result<(), Status> {
    let Some(error) = items.and_then(|items| items.errors.first()) else { return Ok(()) };
    let named = match field {
        Some(field) => format!("{field}[{}]", error.index),
        None => "inputs".to_owned(),
    };
    let message = format!("{named}: {}", error.message);
    let code =
        if OUR_FAULT.contains(&error.reason.as_str()) { Code::FailedPrecondition } else { Code::InvalidArgument };
    let mut details = ErrorDetails::new();
    details.set_error_info(&error.reason, DOMAIN, HashMap::new());
    details.add_bad_request_violation(named, &message);
    Err(Status::with_error_details(code, message, details))
}

/// An answer with where its time went, in its body and among its headers.
pub(super) fn answered<T>(
    chars: usize,
    items: Option<&v1::ItemInfo>,
    chunk: Option<&v1::ChunkInfo>,
    make: impl FnOnce(Option<Metadata>) -> T,
) -> Response<T> {
    let chunk = chunk.cloned().unwrap_or_default();
    let tokens = items.map_or(0, |items| items.tokens.iter().sum());
    let ns = |us: u64| us.saturating_mul(1_000);
    let metadata = Metadata {
        compute_chars: u32::try_from(chars).unwrap_or(u32::MAX),
        compute_tokens: tokens,
        total_time_ns: ns(chunk.total_us),
        tokenization_time_ns: ns(chunk.tokenize_us),
        queue_time_ns: ns(chunk.queue_us),
        inference_time_ns: ns(chunk.compute_us),
    };
    let mut response = Response::new(make(Some(metadata)));
    let headers = response.metadata_mut();
    let ms = |us: u64| Duration::from_micros(us).as_millis().to_string();
    for (key, value) in [
        ("x-compute-characters", chars.to_string()),
        ("x-compute-tokens", tokens.to_string()),
        ("x-total-time", ms(chunk.total_us)),
        ("x-tokenization-time", ms(chunk.tokenize_us)),
        ("x-queue-time", ms(chunk.queue_us)),
        ("x-inference-time", ms(chunk.compute_us)),
    ] {
        if let Ok(value) = value.parse::<MetadataValue<Ascii>>() {
            headers.insert(key, value);
        }
    }
    response
}
