//! The load report in the trailers: `endpoint-load-metrics-bin`, a binary
//! `xds.data.orca.v3.OrcaLoadReport` (gRFC A51; its form is in [`sortie_proto::load`]).
//!
//! Figures are those of the process and of the model that was asked, read when the answer leaves. On success they join
//! the body's trailers; an error without a body carries them in its headers, where gRPC puts such trailers.

use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use prost::Message as _;
use sortie_proto::{metadata::ORCA, orca::OrcaLoadReport};
use tonic::{
    body::Body,
    metadata::{BinaryMetadataValue, MetadataMap},
};

/// Puts `report` among `headers`.
pub(crate) fn add_report(headers: &mut HeaderMap, report: &OrcaLoadReport) {
    if let Some((name, value)) = header(report) {
        headers.insert(name, value);
    }
}

/// Adds what `report` then says to the trailers that `body` ends with.
pub(crate) fn with_report(body: Body, report: impl Fn() -> OrcaLoadReport + Send + 'static) -> Body {
    Body::new(body.map_frame(move |frame| match frame.into_trailers() {
        Ok(mut trailers) => {
            add_report(&mut trailers, &report());
            http_body::Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }))
}

fn header(report: &OrcaLoadReport) -> Option<(HeaderName, HeaderValue)> {
    // tonic's map does the base64 of -bin keys, without the padding that gRPC may leave out and Envoy's reader wants.
    let mut map = MetadataMap::new();
    map.insert_bin(ORCA, BinaryMetadataValue::from_bytes(&report.encode_to_vec()));
    let (name, value) = map.into_headers().into_iter().next()?;
    let mut padded = value.as_bytes().to_vec();
    padded.resize(padded.len().next_multiple_of(4), b'=');
    Some((name?, HeaderValue::from_bytes(&padded).ok()?))
}

#[cfg(test)]
mod tests {
    use sortie_proto::{
        load::{from_orca, to_orca},
        v1::LoadReport,
    };

    use super::*;

    #[test]
    fn the_report_survives_the_header() {
        for queued_tokens in [7, 1 << 20, 1 << 45] {
            let report =
                LoadReport { epoch: 1 << 52, queue_wait_ms: 1.5, busy: 0.25, queued_tokens, ..Default::default() };
            let (name, value) = header(&to_orca(None, Some(&report))).unwrap();
            assert_eq!(value.len() % 4, 0, "Envoy reads no base64 without padding");
            let mut headers = HeaderMap::new();
            headers.insert(name, value);
            let map = MetadataMap::from_headers(headers);
            let bytes = map.get_bin(ORCA).unwrap().to_bytes().unwrap();
            assert_eq!(from_orca(&OrcaLoadReport::decode(bytes).unwrap()), report);
        }
    }
}
