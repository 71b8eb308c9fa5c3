//! Where the time went: one row a part of the job.

use serde::Serialize;

use crate::screen::{Screen, count, micros};

/// The parts of a job and the whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Timings {
    /// Microseconds as this tool saw them, sending and all parts included.
    pub(crate) total_us: u64,
    /// Attempts over all parts.
    pub(crate) attempts: u32,
    /// In order of arrival.
    pub(crate) parts: Vec<PartRow>,
}

/// One part: an RPC with a slice of the job.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct PartRow {
    /// Address it went to.
    pub(crate) endpoint: String,
    /// Process that answered.
    pub(crate) replica: String,
    /// Items in it.
    pub(crate) items: usize,
    /// Tokens in it.
    pub(crate) tokens: u64,
    /// Which attempt answered, from 1.
    pub(crate) attempt: u32,
    /// Microseconds its first item waited for a batch.
    pub(crate) queue_us: u64,
    /// Microseconds spent making token ids.
    pub(crate) tokenize_us: u64,
    /// Microseconds of its batches on the device, strangers in them included.
    pub(crate) compute_us: u64,
    /// Microseconds in the server.
    pub(crate) server_us: u64,
    /// Microseconds as this tool saw them.
    pub(crate) round_trip_us: u64,
}

impl Timings {
    /// For people.
    pub(crate) fn table(&self, screen: Screen) -> String {
        let rows = self.parts.iter().enumerate().map(|(place, part)| {
            [
                (place + 1).to_string(),
                if part.replica.is_empty() { part.endpoint.clone() } else { part.replica.clone() },
                part.items.to_string(),
                part.tokens.to_string(),
                micros(part.queue_us),
                micros(part.tokenize_us),
                micros(part.compute_us),
                micros(part.server_us),
                micros(part.round_trip_us),
            ]
        });
        let header = ["chunk", "server", "items", "tokens", "queue", "tokenize", "compute", "in server", "round trip"];
        let table = screen.table(header, &[0, 2, 3, 4, 5, 6, 7, 8], rows);
        let chunks = count(self.parts.len(), "chunk");
        let attempts = count(self.attempts as usize, "attempt");
        format!("Where the time went: {} in all, {chunks}, {attempts}\n{table}", micros(self.total_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_rows_under_a_total() {
        let part = PartRow { endpoint: "http://a:1".to_owned(), items: 3, queue_us: 12, ..PartRow::default() };
        let timings = Timings { total_us: 2_500, attempts: 3, parts: vec![part.clone(), part] };
        let table = timings.table(Screen::default());
        assert!(table.starts_with("Where the time went: 2.5 ms in all, 2 chunks, 3 attempts\n"), "{table}");
        assert_eq!(table.lines().count(), 4, "{table}");
    }
}
