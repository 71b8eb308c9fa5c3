//! The load report in the trailers: `endpoint-load-metrics-bin`, a binary
//! `xds.data.orca.v3.OrcaLoadReport` (gRFC A51; its form is in [`sortie_proto::load`]).
//!
//! Figures are those of the model that was asked, read when the answer leaves. On success they join the body's
//! trailers; an error without a body carries them in its headers, where gRPC puts such trailers.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use prost::Message as _;
use sortie_proto::{load::to_orca, metadata::ORCA, v1::LoadReport};
use tonic::{
    body::Body,
    metadata::{BinaryMetadataValue, MetadataMap},
};

use crate::asked_model::AskedModel;

/// Puts the report of `model`, as it stands now, among `headers`.
pub(crate) fn add_report(headers: &mut HeaderMap, model: Option<&dyn AskedModel>) {
    let Some(model) = model else { return };
    if let Some((name, value)) = header(&model.load_report()) {
        headers.insert(name, value);
    }
}

/// Adds the report to the trailers that `body` ends with.
pub(crate) fn with_report(body: Body, model: Option<Arc<dyn AskedModel>>) -> Body {
    Body::new(body.map_frame(move |frame| match frame.into_trailers() {
        Ok(mut trailers) => {
            add_report(&mut trailers, model.as_deref());
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
    use sortie_proto::{load::from_orca, orca::OrcaLoadReport};

    use super::*;

    #[test]
    fn the_report_survives_the_header() {
        let report =
            LoadReport { epoch: 1 << 52, queue_wait_ms: 1.5, busy: 0.25, queued_tokens: 7, ..Default::default() };
        let (name, value) = header(&report).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(name, value);
        let map = MetadataMap::from_headers(headers);
        let bytes = map.get_bin(ORCA).unwrap().to_bytes().unwrap();
        assert_eq!(from_orca(&OrcaLoadReport::decode(bytes).unwrap()), report);
    }
}
