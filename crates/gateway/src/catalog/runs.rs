//! Which run of each server it was that said what it serves. One that joined or restarted since may compute otherwise,
//! though its revision is the same: in another precision, say.

use std::collections::BTreeMap;

use sortie_client::ChunkReport;

/// The runs of one model, by the addresses of its servers: the epoch of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelRuns(BTreeMap<String, u64>);

impl ModelRuns {
    /// The server at `endpoint` is in this run.
    pub(super) fn note(&mut self, endpoint: &str, epoch: u64) {
        self.0.insert(endpoint.to_owned(), epoch);
    }

    /// Whether some of these are not in `before`.
    pub(super) fn more_than(&self, before: Option<&Self>) -> bool {
        self.0.iter().any(|(endpoint, epoch)| before.and_then(|before| before.0.get(endpoint)) != Some(epoch))
    }

    /// Keeps those of which `said` is true.
    pub(super) fn retain(&mut self, said: impl Fn(&str) -> bool) {
        self.0.retain(|endpoint, _| said(endpoint));
    }

    /// Whether one of these answered a chunk. A chunk that says nothing of its run is judged by its server's address.
    pub(crate) fn answered(&self, chunk: &ChunkReport) -> bool {
        self.0.get(&chunk.endpoint).is_some_and(|epoch| chunk.epoch.is_none_or(|said| said == *epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(of: &[(&str, u64)]) -> ModelRuns {
        ModelRuns(of.iter().map(|(endpoint, epoch)| ((*endpoint).to_owned(), *epoch)).collect())
    }

    #[test]
    fn a_server_that_joined_or_restarted_is_another_run() {
        let before = runs(&[("a", 1), ("b", 1)]);
        assert!(!runs(&[("a", 1)]).more_than(Some(&before)), "one left");
        assert!(runs(&[("a", 2), ("b", 1)]).more_than(Some(&before)), "one restarted");
        assert!(runs(&[("a", 1), ("c", 1)]).more_than(Some(&before)), "one joined");
        assert!(before.more_than(None));
    }
}
