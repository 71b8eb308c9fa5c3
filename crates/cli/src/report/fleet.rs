//! Models and probe: what the servers say of themselves, one row an endpoint.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{ItemFailure, PrintedAnswer, or_dash};
use crate::screen::Screen;

/// `sortie models`: `results` are the models, `errors` the endpoints without an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ModelList {
    /// In endpoint order, then name order.
    pub(crate) results: Vec<ModelRow>,
    /// Endpoints that did not answer; `index` is the endpoint's place.
    pub(crate) errors: Vec<ItemFailure>,
}

/// One model of one server.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ModelRow {
    /// The server that has it.
    pub(crate) endpoint: String,
    /// Name to ask for.
    pub(crate) name: String,
    /// Digest of its files, or the hub's commit.
    pub(crate) revision: String,
    /// `model_type` of its config.
    pub(crate) model_type: String,
    /// First entry of `architectures`.
    pub(crate) architecture: String,
    /// `rerank`, `classify`, `tag`, `embed` or `embed_sparse`.
    pub(crate) task: String,
    /// RPCs it answers.
    pub(crate) rpcs: Vec<String>,
    /// Labels in output order.
    pub(crate) labels: Vec<String>,
    /// Labels come with the request.
    pub(crate) labels_in_request: bool,
    /// Labels do not exclude one another.
    pub(crate) multi_label: bool,
    /// Longest sequence in tokens.
    pub(crate) max_length: u32,
    /// Size of its vectors; 0 where it makes none.
    pub(crate) dimensions: u32,
    /// Its own pooling.
    pub(crate) pooling: String,
    /// Vectors have length 1 by default.
    pub(crate) normalize: bool,
    /// Prompts that can be named, by name.
    pub(crate) prompts: BTreeMap<String, String>,
    /// Entries in its vocabulary.
    pub(crate) vocab_size: u32,
    /// `native` or `onnx`.
    pub(crate) engine: String,
    /// For example `cpu`.
    pub(crate) device: String,
    /// Number format of its weights.
    pub(crate) precision: String,
    /// What a request may hold.
    pub(crate) limits: LimitsRow,
    /// `loading`, `ready`, `draining` or `failed`.
    pub(crate) state: String,
}

/// What a request may hold; 0 where the server did not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct LimitsRow {
    /// Tokens in one batch.
    pub(crate) max_batch_tokens: u64,
    /// Items in one request.
    pub(crate) max_items: u64,
    /// Bytes of one message.
    pub(crate) max_message_bytes: u64,
    /// Bytes of one text.
    pub(crate) max_text_bytes: u64,
    /// Tokens that may wait.
    pub(crate) max_queue_tokens: u64,
}

impl PrintedAnswer for ModelList {
    fn table(&self, screen: Screen) -> String {
        let header = ["endpoint", "name", "task", "type", "engine", "device", "max length", "dims", "state"];
        let rows = self.results.iter().map(|row| {
            let dims = if row.dimensions == 0 { "-".to_owned() } else { row.dimensions.to_string() };
            [
                row.endpoint.clone(),
                row.name.clone(),
                row.task.clone(),
                or_dash(&row.model_type),
                or_dash(&row.engine),
                format!("{} {}", row.device, row.precision),
                row.max_length.to_string(),
                dims,
                row.state.clone(),
            ]
        });
        screen.table(header, &[6, 7], rows)
    }

    fn failures(&self) -> &[ItemFailure] {
        &self.errors
    }
}

/// `sortie probe`: `results` are the reports, `errors` the endpoints without one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Probes {
    /// In endpoint order.
    pub(crate) results: Vec<ProbeRow>,
    /// Endpoints that did not answer; `index` is the endpoint's place.
    pub(crate) errors: Vec<ItemFailure>,
}

/// One server's report.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ProbeRow {
    /// The server asked.
    pub(crate) endpoint: String,
    /// The process that answered.
    pub(crate) replica: String,
    /// Grows when the process or its model restarts.
    pub(crate) epoch: u64,
    /// `loading`, `ready`, `draining` or `failed`.
    pub(crate) state: String,
    /// Milliseconds until a request that arrives now would start.
    pub(crate) queue_wait_ms: f64,
    /// Share of the last second the device was at work.
    pub(crate) busy: f32,
    /// Tokens that wait.
    pub(crate) queued_tokens: u64,
    /// Tokens in the batch that runs.
    pub(crate) running_tokens: u64,
    /// Fixed cost of a batch.
    pub(crate) a_ms: f64,
    /// Cost of a token.
    pub(crate) b_us: f32,
    /// Tokens past which a larger batch is no faster per token.
    pub(crate) knee_tokens: u32,
    /// Tokens a second served lately.
    pub(crate) rate_tokens_per_second: f32,
    /// Age of the running batch over its predicted duration.
    pub(crate) overdue: f32,
    /// What a request may hold.
    pub(crate) limits: LimitsRow,
    /// Microseconds to ask and be answered.
    pub(crate) elapsed_us: u64,
}

impl PrintedAnswer for Probes {
    fn table(&self, screen: Screen) -> String {
        let header =
            ["endpoint", "replica", "state", "wait", "busy", "queued", "running", "batch + token", "tokens/s", "ping"];
        let rows = self.results.iter().map(|row| {
            [
                row.endpoint.clone(),
                or_dash(&row.replica),
                row.state.clone(),
                format!("{:.1} ms", row.queue_wait_ms),
                format!("{:.0}%", 100.0 * row.busy),
                row.queued_tokens.to_string(),
                row.running_tokens.to_string(),
                format!("{:.2} ms + {:.2} µs", row.a_ms, row.b_us),
                format!("{:.0}", row.rate_tokens_per_second),
                crate::screen::micros(row.elapsed_us),
            ]
        });
        screen.table(header, &[3, 4, 5, 6, 7, 8, 9], rows)
    }

    fn failures(&self) -> &[ItemFailure] {
        &self.errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_an_endpoint() {
        let row = ProbeRow { endpoint: "http://a:1".to_owned(), busy: 0.25, a_ms: 1.5, ..ProbeRow::default() };
        let table = Probes { results: vec![row.clone(), row], errors: vec![] }.table(Screen::default());
        assert_eq!(table.lines().count(), 3);
        assert!(table.contains("25%") && table.contains("1.50 ms + 0.00 µs"), "{table}");
        let row = ModelRow { name: "minilm".to_owned(), task: "embed".to_owned(), ..ModelRow::default() };
        let table = ModelList { results: vec![row], errors: vec![] }.table(Screen::default());
        assert!(table.contains("minilm") && table.contains("embed"), "{table}");
    }
}
