//! The fleet as the page shows it: what each server said of itself in the last round, and what the client learned of it.

use std::collections::{BTreeMap, HashMap};

use sortie_client::{EndpointStats, ModelStats, Stats};
use sortie_page::{PageFleet, PageLoad, PageServer, PageServerModel, PageSource};
use sortie_proto::v1::{LoadReport, ModelInfo};

use super::Catalog;

/// What servers said, by their addresses.
pub(super) type SaidByServers = HashMap<String, SaidByServer>;

/// What one server said.
#[derive(Debug, Default)]
pub(super) struct SaidByServer {
    replica: String,
    /// By model.
    loads: BTreeMap<String, PageLoad>,
}

impl SaidByServer {
    /// It named itself, and told the load of a model.
    pub(super) fn note(&mut self, replica: String, model: &str, report: &LoadReport) {
        self.replica = replica;
        self.loads.insert(model.to_owned(), PageLoad::from(report));
    }
}

impl PageSource for Catalog {
    fn models(&self) -> Vec<(ModelInfo, LoadReport)> {
        self.all().iter().map(|model| (model.describe(), model.load())).collect()
    }

    fn fleet(&self) -> Option<PageFleet> {
        let Stats { endpoints, retry_budget_tokens, hedge_budget_tokens, counters, .. } = self.client.stats();
        let (said, models) = (self.servers.load(), self.models.load());
        let server = |mut learned: EndpointStats| {
            // A name that nobody serves is what some caller wrote.
            learned.models.retain(|learned| models.contains_key(&learned.model));
            server(said.get(&learned.endpoint), learned)
        };
        Some(PageFleet {
            servers: endpoints.into_iter().map(server).collect(),
            retry_budget_tokens,
            hedge_budget_tokens,
            chunks: counters.chunks,
            hedges: counters.hedges,
            hedges_won: counters.hedges_won,
            retries: counters.retries + counters.free_retries,
        })
    }
}

/// One server, by what it said and what was learned.
fn server(said: Option<&SaidByServer>, learned: EndpointStats) -> PageServer {
    let state = match &learned {
        learned if learned.ejected => "ejected",
        learned if !learned.ready => "away",
        learned if learned.suspect => "suspect",
        _ => "ready",
    };
    let told = said.into_iter().flat_map(|said| &said.loads);
    let mut models: BTreeMap<String, PageServerModel> = BTreeMap::new();
    for (name, load) in told {
        models.entry(name.clone()).or_default().load = Some(*load);
    }
    for ModelStats { model, a, b_us, samples, .. } in learned.models {
        let shown = models.entry(model).or_default();
        (shown.a_ms, shown.b_us, shown.samples) = (a.as_secs_f64() * 1e3, b_us, samples);
    }
    PageServer {
        address: learned.endpoint,
        replica: said.map(|said| said.replica.clone()).unwrap_or_default(),
        connections: learned.connections,
        state,
        in_flight_tokens: learned.in_flight_tokens,
        models: models.into_iter().map(|(name, model)| PageServerModel { name, ..model }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_server_said_and_what_was_learned_lie_together() {
        let mut said = SaidByServer::default();
        said.note("s1".to_owned(), "told", &LoadReport::default());
        let mut learned = EndpointStats::default();
        (learned.endpoint, learned.ready) = ("http://a:1".to_owned(), true);
        let mut model = ModelStats::default();
        (model.model, model.a, model.b_us, model.samples) = ("told".to_owned(), Duration::from_millis(2), 3.0, 4);
        learned.models.push(model);
        let shown = server(Some(&said), learned.clone());
        assert_eq!((shown.replica.as_str(), shown.state, shown.models.len()), ("s1", "ready", 1));
        assert!(shown.models[0].load.is_some());
        assert_eq!((shown.models[0].a_ms, shown.models[0].b_us, shown.models[0].samples), (2.0, 3.0, 4));
        let unsaid = server(None, learned.clone());
        assert!(unsaid.replica.is_empty() && unsaid.models[0].load.is_none());
        learned.suspect = true;
        assert_eq!(server(None, learned.clone()).state, "suspect");
        learned.ready = false;
        assert_eq!(server(None, learned.clone()).state, "away");
        learned.ejected = true;
        assert_eq!(server(None, learned).state, "ejected");
    }
}
