//! The load report in the trailers: `endpoint-load-metrics-bin`, a binary
//! `xds.data.orca.v3.OrcaLoadReport` (gRFC A51).
//!
//! `application_utilization` is the busy share; the rest of a
//! [`LoadReport`] is in `named_metrics` as `sortie.<field>`. Real figures of the
//! model that was asked, read when the answer leaves. On success they join the
//! body's trailers; an error without a body carries them in its headers, where
//! gRPC puts such trailers.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use prost::Message as _;
use sortie_proto::{metadata::ORCA, orca::OrcaLoadReport, v1::LoadReport};
use tonic::{
    body::Body,
    metadata::{BinaryMetadataValue, MetadataMap},
};

use crate::models::Served;

/// Name prefix of our figures.
const PREFIX: &str = "sortie.";

/// A report in ORCA's form.
pub(crate) fn to_orca(report: &LoadReport) -> OrcaLoadReport {
    let limits = report.limits.unwrap_or_default();
    let figures = [
        // Whole numbers up to 2^53 are exact in a double; epochs and limits stay below.
        ("epoch", report.epoch as f64),
        ("queue_wait_ms", f64::from(report.queue_wait_ms)),
        ("queued_tokens", report.queued_tokens as f64),
        ("running_tokens", report.running_tokens as f64),
        ("a_ms", f64::from(report.a_ms)),
        ("b_us", f64::from(report.b_us)),
        ("knee_tokens", f64::from(report.knee_tokens)),
        ("rate_tokens_per_second", f64::from(report.rate_tokens_per_second)),
        ("overdue", f64::from(report.overdue)),
        ("served_tokens_per_second", f64::from(report.served_tokens_per_second)),
        ("state", f64::from(report.state)),
        ("max_batch_tokens", f64::from(limits.max_batch_tokens)),
        ("max_items", f64::from(limits.max_items)),
        ("max_message_bytes", limits.max_message_bytes as f64),
        ("max_queue_tokens", limits.max_queue_tokens as f64),
        ("max_text_bytes", limits.max_text_bytes as f64),
    ];
    OrcaLoadReport {
        application_utilization: f64::from(report.busy),
        named_metrics: figures
            .iter()
            .map(|(name, value)| (format!("{PREFIX}{name}"), *value))
            .collect::<HashMap<_, _>>(),
        ..OrcaLoadReport::default()
    }
}

/// Puts the report of `served`, as it stands now, among `headers`.
pub(crate) fn add_report(headers: &mut HeaderMap, served: Option<&Served>) {
    let Some(served) = served else { return };
    if let Some((name, value)) = header(&served.load_report()) {
        headers.insert(name, value);
    }
}

/// Adds the report to the trailers that `body` ends with.
pub(crate) fn with_report(body: Body, served: Option<Arc<Served>>) -> Body {
    Body::new(body.map_frame(move |frame| match frame.into_trailers() {
        Ok(mut trailers) => {
            add_report(&mut trailers, served.as_deref());
            http_body::Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }))
}

fn header(report: &LoadReport) -> Option<(HeaderName, HeaderValue)> {
    // tonic's map does the base64 of -bin keys.
    let mut map = MetadataMap::new();
    map.insert_bin(ORCA, BinaryMetadataValue::from_bytes(&Bytes::from(to_orca(report).encode_to_vec())));
    let headers = map.into_headers();
    headers.into_iter().next().and_then(|(name, value)| Some((name?, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_survives_the_header() {
        let report =
            LoadReport { epoch: 1 << 52, queue_wait_ms: 1.5, busy: 0.25, queued_tokens: 7, ..LoadReport::default() };
        let (name, value) = header(&report).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(name, value);
        let map = MetadataMap::from_headers(headers);
        let bytes = map.get_bin(ORCA).unwrap().to_bytes().unwrap();
        let orca = OrcaLoadReport::decode(bytes).unwrap();
        assert_eq!((orca.application_utilization, orca.named_metrics["sortie.queue_wait_ms"]), (0.25, 1.5));
        assert_eq!(orca.named_metrics["sortie.epoch"] as u64, 1 << 52);
        assert_eq!(orca.named_metrics["sortie.queued_tokens"], 7.0);
    }
}
