//! What an answer took, in headers.

use http::{HeaderMap, HeaderName, HeaderValue};
use sortie_proto::v1::{ChunkInfo, ModelInfo, Scoring};

use super::Load;
use crate::{failure::Fate, request::Caller};

/// Indices of cut items that are listed; how many there are is said beside them.
const LISTED: usize = 32;

/// What is known of an answer beside the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Where the time went.
    pub(crate) chunk: Option<ChunkInfo>,
    /// Where the model runs.
    pub(crate) device: String,
    /// Characters of all texts.
    pub(crate) characters: usize,
    /// What became of the items.
    pub(crate) fate: Fate,
    /// Items that were asked for.
    pub(crate) items: usize,
    /// The query was cut.
    pub(crate) query_truncated: bool,
    /// How scores came about.
    pub(crate) scoring: Option<Scoring>,
    pub(crate) load: Option<Load>,
}

impl Facts {
    /// Facts of `items` items of `model`.
    pub(crate) fn of(
        model: &ModelInfo,
        chunk: Option<ChunkInfo>,
        fate: Fate,
        items: usize,
        load: Option<Load>,
    ) -> Self {
        Self { chunk, device: model.device.clone(), fate, items, load, ..Self::default() }
    }

    pub(super) fn write(self, headers: &mut HeaderMap, caller: &Caller) {
        let mut put = |name: &'static str, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        if let Some(chunk) = &self.chunk {
            let ms = |us: u64| (us / 1_000).to_string();
            let gpu = self.device.starts_with("cuda");
            put("x-compute-type", if gpu { "gpu+optimized" } else { "cpu" }.to_owned());
            put("x-compute-time", caller.elapsed().as_millis().to_string());
            put("x-compute-characters", self.characters.to_string());
            put("x-compute-tokens", self.fate.tokens.to_string());
            put("x-total-time", caller.elapsed().as_millis().to_string());
            put("x-tokenization-time", ms(chunk.tokenize_us));
            put("x-queue-time", ms(chunk.queue_us));
            put("x-inference-time", ms(chunk.compute_us));
            put("server-timing", server_timing(chunk));
            if !chunk.replica.is_empty() {
                put("x-sortie-replica", chunk.replica.clone());
            }
        }
        if !self.fate.truncated.is_empty() {
            let listed: Vec<String> = self.fate.truncated.iter().take(LISTED).map(u32::to_string).collect();
            put("x-sortie-truncated", listed.join(","));
            put("x-sortie-truncated-count", self.fate.truncated.len().to_string());
        }
        if self.query_truncated {
            put("x-sortie-query-truncated", "true".to_owned());
        }
        if let Some(scoring) = self.scoring {
            let name = scoring.as_str_name().trim_start_matches("SCORING_").to_ascii_lowercase();
            put("x-sortie-scoring", name);
        }
        if caller.partial && self.items > 0 {
            let answered = self.items.saturating_sub(self.fate.failed.len());
            put("x-sortie-coverage", (answered as f64 / self.items as f64).to_string());
        }
        if let Some(load) = self.load {
            load.write(headers);
        }
    }
}

/// The parts of the time as browsers and proxies show them.
fn server_timing(chunk: &ChunkInfo) -> String {
    let parts = [
        ("tokenize", chunk.tokenize_us),
        ("queue", chunk.queue_us),
        ("compute", chunk.compute_us),
        ("total", chunk.total_us),
    ];
    let part = |(name, us): (&str, u64)| format!("{name};dur={}", us as f64 / 1e3);
    parts.map(part).join(", ")
}
