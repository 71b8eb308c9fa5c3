//! Where the time went: one row a chunk of the job.

use serde::Serialize;

use crate::screen::{Screen, count, micros};

/// The chunks of a job and the whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Timings {
    /// Microseconds as this tool saw them, sending and all chunks included.
    pub(crate) total_us: u64,
    /// Attempts over all chunks.
    pub(crate) attempts: u32,
    /// In order of arrival.
    pub(crate) chunks: Vec<ChunkRow>,
}

/// One chunk: an RPC with a slice of the job.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ChunkRow {
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
    /// Microseconds of its batches on the device, other clients' items in them included.
    pub(crate) compute_us: u64,
    /// Microseconds in the server.
    pub(crate) server_us: u64,
    /// Microseconds as this tool saw them, from the start of the attempt to its answer.
    pub(crate) elapsed_us: u64,
}

impl Timings {
    /// For people.
    pub(crate) fn table(&self, screen: Screen) -> String {
        let rows = self.chunks.iter().enumerate().map(|(place, chunk)| {
            [
                (place + 1).to_string(),
                if chunk.replica.is_empty() { chunk.endpoint.clone() } else { chunk.replica.clone() },
                chunk.items.to_string(),
                chunk.tokens.to_string(),
                micros(chunk.queue_us),
                micros(chunk.tokenize_us),
                micros(chunk.compute_us),
                micros(chunk.server_us),
                micros(chunk.elapsed_us),
            ]
        });
        let header = ["chunk", "server", "items", "tokens", "queue", "tokenize", "compute", "in server", "elapsed"];
        let table = screen.table(header, &[0, 2, 3, 4, 5, 6, 7, 8], rows);
        let chunks = count(self.chunks.len(), "chunk");
        let attempts = count(self.attempts as usize, "attempt");
        format!("Where the time went: {} in all, {chunks}, {attempts}\n{table}", micros(self.total_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_rows_under_a_total() {
        let chunk = ChunkRow { endpoint: "http://a:1".to_owned(), items: 3, queue_us: 12, ..ChunkRow::default() };
        let timings = Timings { total_us: 2_500, attempts: 3, chunks: vec![chunk.clone(), chunk] };
        let table = timings.table(Screen::default());
        assert!(table.starts_with("Where the time went: 2.5 ms in all, 2 chunks, 3 attempts\n"), "{table}");
        assert_eq!(table.lines().count(), 4, "{table}");
    }
}
