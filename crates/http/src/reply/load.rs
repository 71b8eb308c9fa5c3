//! The load report that came in trailers, as balancers in front of HTTP read it.

use http::{HeaderMap, HeaderValue};
use prost::Message as _;
use serde_json::json;
use sortie_proto::{metadata::ORCA, orca::OrcaLoadReport};
use tonic::metadata::MetadataMap;

/// The header of ORCA reports in text. Its JSON form: readers do not agree on the other one.
const HEADER: &str = "endpoint-load-metrics";

/// A report as the header has it.
#[derive(Clone, Debug)]
pub(crate) struct Load(HeaderValue);

impl Load {
    /// The report in `metadata`, if there is one.
    pub(crate) fn read(metadata: &MetadataMap) -> Option<Self> {
        let bytes = metadata.get_bin(ORCA)?.to_bytes().ok()?;
        let report = OrcaLoadReport::decode(bytes).ok()?;
        let number = |value: f64| if value.is_finite() { value } else { 0.0 };
        let text = json!({
            "application_utilization": number(report.application_utilization),
            "rps_fractional": number(report.rps_fractional),
            "eps": number(report.eps),
        });
        Some(Self(HeaderValue::try_from(format!("JSON {text}")).ok()?))
    }

    pub(crate) fn write(self, headers: &mut HeaderMap) {
        headers.insert(HEADER, self.0);
    }
}
