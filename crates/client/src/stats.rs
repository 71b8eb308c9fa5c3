//! What a client learned of its servers, for logs, metrics and curious people.

use std::{collections::HashMap, sync::Arc, time::Duration};

use sortie_dispatch::{DispatchCounters, EndpointId, Fleet, Time};

use crate::transport::Server;

/// What a client learned of its servers.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// One a server, in the order of [`crate::Client::endpoints`].
    pub endpoints: Vec<EndpointStats>,
    /// Tokens that retries may still take.
    pub retry_budget_tokens: u64,
    /// Tokens that hedges may still take.
    pub hedge_budget_tokens: u64,
    /// What was decided so far: chunks, hedges, retries, suspicions, ejections.
    pub counters: DispatchCounters,
}

/// What a client learned of one server.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct EndpointStats {
    /// Its address.
    pub endpoint: String,
    /// Connections that stand, each of which had an answer.
    pub connections: usize,
    /// Whether it is ready: false without a connection, for a while after an attempt could not reach it or a refusal
    /// asked for a pause, and while it drains.
    pub ready: bool,
    /// Whether it is suspect: an attempt there is late, and it has answered nothing since.
    pub suspect: bool,
    /// Whether it is left out for a while, for it keeps failing or is far slower than the others.
    pub ejected: bool,
    /// Tokens of this client's own chunks that it has and has not answered.
    pub in_flight_tokens: u64,
    /// What its work costs, by model.
    pub models: Vec<ModelStats>,
}

/// What a model's work costs on one server: T = a + b · tokens.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ModelStats {
    /// Name of the model, as calls ask for it.
    pub model: String,
    /// Fixed cost of a batch.
    pub a: Duration,
    /// Cost of one token in microseconds.
    pub b_us: f64,
    /// Batches the cost was fitted from.
    pub samples: u64,
}

impl Stats {
    pub(crate) fn new(servers: &[(EndpointId, Arc<Server>)], fleet: &Fleet, now: Time) -> Self {
        let known: HashMap<EndpointId, _> = fleet.stats(now).map(|stats| (stats.endpoint, stats)).collect();
        let of = |id: EndpointId| known.get(&id).cloned();
        let known = servers.iter().filter_map(|(id, server)| Some((server, of(*id)?)));
        let endpoints = known.map(|(server, stats)| EndpointStats {
            endpoint: server.address().to_owned(),
            connections: server.connections(),
            ready: stats.ready,
            suspect: stats.suspect,
            ejected: stats.ejected,
            in_flight_tokens: stats.in_flight_tokens,
            models: stats
                .models
                .into_iter()
                .map(|(model, cost, samples)| ModelStats {
                    model,
                    a: Duration::try_from_secs_f64(cost.a_us / 1e6).unwrap_or_default(),
                    b_us: cost.b_us,
                    samples,
                })
                .collect(),
        });
        Self {
            endpoints: endpoints.collect(),
            retry_budget_tokens: fleet.retry_budget(),
            hedge_budget_tokens: fleet.hedge_budget(),
            counters: fleet.counters(),
        }
    }
}
