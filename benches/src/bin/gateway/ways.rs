//! The ways from a caller to the servers.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use sortie_client::{Activation, Client};

use crate::{
    fleet::{SERVERS, ServedFleet},
    post::{PATIENCE, PostCaller},
    split::{SplitCaller, SplitClient},
    texts::{JobShape, TextJob},
};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RerankWay {
    /// The Rust client, in this process.
    Client,
    /// One POST to the gateway.
    Gateway,
    /// One POST through Envoy to the next server.
    Envoy,
    /// A post for each server, all through Envoy.
    Split,
}

impl RerankWay {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Client, Self::Gateway, Self::Envoy, Self::Split];
}

impl fmt::Display for RerankWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "Rust client",
            Self::Gateway => "one POST to sortie-gateway",
            Self::Envoy => "one POST through Envoy, round robin",
            Self::Split => "baseten-performance-client through Envoy, round robin",
        })
    }
}

/// What a way gave.
#[derive(Debug)]
pub(super) struct WayAnswer {
    /// Scores in the order sent.
    pub(super) scores: Vec<f32>,
    /// From texts to numbers.
    pub(super) took: Duration,
    /// What of it the caller spent on JSON before and after the call; zero where it is not known.
    pub(super) own_json: Duration,
}

/// A caller of each way; those whose packages are missing are left out.
#[derive(Debug)]
pub(super) struct WayCallers {
    client: Client,
    gateway: PostCaller,
    envoy: Option<PostCaller>,
    split: Option<SplitCaller>,
}

impl WayCallers {
    /// WayCallers of a fleet whose jobs have this shape.
    pub(super) async fn new(fleet: &ServedFleet, split: Option<&SplitClient>, shape: JobShape) -> anyhow::Result<Self> {
        let client = Client::builder().endpoints(fleet.endpoints()).default_deadline(PATIENCE).connect().await?;
        let envoy = fleet.envoy.as_ref().map(|envoy| envoy.address);
        let chunk = shape.documents.div_ceil(SERVERS);
        let split = split.zip(envoy).map(|(split, envoy)| split.start(envoy, chunk)).transpose()?;
        Ok(Self { client, gateway: PostCaller::new(fleet.gateway()), envoy: envoy.map(PostCaller::new), split })
    }

    /// Whether there is a caller of this way.
    pub(super) fn has(&self, way: RerankWay) -> bool {
        match way {
            RerankWay::Client | RerankWay::Gateway => true,
            RerankWay::Envoy => self.envoy.is_some(),
            RerankWay::Split => self.split.is_some(),
        }
    }

    /// Has a job done.
    pub(super) async fn run(&mut self, way: RerankWay, job: &TextJob) -> anyhow::Result<WayAnswer> {
        let missing = || format!("{way} is not there");
        match way {
            RerankWay::Client => {
                let (query, documents) = (job.query.clone(), job.documents.clone());
                let started = Instant::now();
                let answer = self.client.rerank(query, documents).activation(Activation::Sigmoid).await?;
                let took = started.elapsed();
                let scores: Option<Vec<f32>> = answer.scores.into_iter().collect();
                let scores = scores.context("a document has no score")?;
                Ok(WayAnswer { scores, took, own_json: Duration::ZERO })
            }
            RerankWay::Gateway => self.gateway.scores(job).await,
            RerankWay::Envoy => self.envoy.as_ref().with_context(missing)?.scores(job).await,
            RerankWay::Split => self.split.as_mut().with_context(missing)?.scores(job).await,
        }
    }
}
