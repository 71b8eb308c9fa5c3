//! First contact with the servers of a model. Before the first job of a model, every server is
//! asked for the limits of the model (GetModel) and for its load and costs (Probe), so that the
//! first job is already cut by real costs and limits.
//!
//! The first job waits at most [`crate::DEFAULT_DESCRIBE_TIMEOUT`] for the answers and goes on with those that
//! came. Later jobs learn from the trailers of answers.
//!
//! A server that joins or comes back is asked the same on its new connection ([`ConnectionCheck`]): the call that
//! checks the connection asks for the load and, for each model in use, for the limits of a request. So plans can use it
//! from its first chunk on.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use sortie_dispatch::{EndpointId, FleetEvent, Resource};
use sortie_proto::v1;
use tokio::{sync::OnceCell, time::Instant};
use tonic::{Request, Response, Status};

use crate::{
    broadcast,
    call::CallOptions,
    client::{Client, ClientState},
    error::{Error, ErrorKind},
    failure::died_in_transport,
    metadata::{self, JobMetadata},
    transport::{ConnectionObserver, Stub},
};

/// Models whose servers were asked. A model is known once a server described it.
#[derive(Debug, Default)]
pub(crate) struct KnownModels {
    models: Mutex<HashMap<String, Arc<OnceCell<()>>>>,
}

impl KnownModels {
    /// Names of the models that were asked about.
    pub(crate) fn models(&self) -> Vec<String> {
        self.models.lock().keys().cloned().collect()
    }
}

/// How long first contact with a server may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectTimeouts {
    pub(crate) connect: Duration,
    pub(crate) describe: Duration,
}

impl ConnectTimeouts {
    /// Longest that first contact may take: to connect, to check the connection, and one call.
    pub(crate) fn worst_case(self) -> Duration {
        self.connect + self.connect + self.describe
    }
}

impl Client {
    /// Asks every server about its model, and fails where none says anything useful.
    pub(crate) async fn describe_servers(&self) -> Result<(), Error> {
        let model = self.model_of(&CallOptions::default()).to_owned();
        match self.describe_model(&model, self.connect_timeouts().worst_case()).await {
            Ok(()) => {
                // The first job need not ask again.
                let known = Arc::new(OnceCell::new_with(Some(())));
                self.known_models().models.lock().insert(model, known);
                Ok(())
            }
            // Servers of several models want a name, which each call may give.
            Err(error)
                if model.is_empty() && matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::NotFound) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Makes sure that the servers of a model were asked about it. No answer is no failure: the job
    /// itself finds out more. Fails only where no server is known at all.
    pub(crate) async fn ensure_described(&self, model: &str, deadline: Instant) -> Result<(), Error> {
        self.populated(deadline).await?;
        let known = self.known_models().models.lock().get(model).cloned();
        let cell = match known {
            Some(cell) if cell.initialized() => return Ok(()),
            Some(cell) => cell,
            None => self.known_models().models.lock().entry(model.to_owned()).or_default().clone(),
        };
        let within = self.connect_timeouts().describe.min(deadline.saturating_duration_since(Instant::now()));
        if let Err(error) = cell.get_or_try_init(|| self.describe_model(model, within)).await {
            tracing::debug!(model, %error, "no server described the model");
            // Names that nobody serves are not remembered.
            self.known_models().models.lock().remove(model);
        }
        Ok(())
    }

    async fn describe_model(&self, model: &str, within: Duration) -> Result<(), Error> {
        let options = CallOptions { deadline: Some(within), ..CallOptions::default() };
        let answers = broadcast::broadcast(self, &options, |mut stub, requests| {
            let describe = requests.request(v1::GetModelRequest { model: model.to_owned() });
            let probe = requests.request(v1::ProbeRequest { model: model.to_owned(), tokens: 0 });
            // One after the other: a server may take few calls at once.
            async move {
                let described = stub.get_model(describe).await?.into_inner().model;
                let report = stub.probe(probe).await.ok().and_then(|answer| answer.into_inner().report);
                Ok(Response::new((described, report)))
            }
        });
        let mut refusal = None;
        let mut known = false;
        for (id, answer) in answers.await? {
            match answer.result {
                Ok((described, report)) => {
                    known = true;
                    learn(self, id, model, described.as_ref(), report);
                }
                Err(error) => refusal = Some(error),
            }
        }
        match refusal {
            Some(error) if !known => Err(error),
            _ => Ok(()),
        }
    }
}

/// Checks new connections for a client that it holds weakly, since the client may be dropped at any time.
pub(crate) struct ConnectionCheck {
    client: Weak<ClientState>,
}

impl fmt::Debug for ConnectionCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionCheck")
    }
}

impl ConnectionCheck {
    pub(crate) fn new(client: Weak<ClientState>) -> Self {
        Self { client }
    }

    fn client(&self) -> Option<Client> {
        self.client.upgrade().map(Client::of)
    }
}

impl ConnectionObserver for ConnectionCheck {
    fn check_connection(&self, id: EndpointId, stub: Stub) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
        let client = self.client.clone();
        Box::pin(check_connection(client, id, stub))
    }

    fn connected(&self, id: EndpointId, connected: bool) {
        let Some(client) = self.client() else { return };
        if !connected {
            client.background().notify_disconnected();
        }
        client.tell(if connected { FleetEvent::Connected(id) } else { FleetEvent::Disconnected(id) });
    }
}

async fn check_connection(client: Weak<ClientState>, id: EndpointId, stub: Stub) -> Result<(), Error> {
    // The client is held for moments only, so that it can go while a server keeps silent.
    let Some(client_now) = client.upgrade().map(Client::of) else { return Ok(()) };
    let mut models = client_now.known_models().models();
    if models.is_empty() {
        models.push(client_now.config().defaults.model.clone());
    }
    let within = client_now.config().transport.connect_timeout;
    // Without a token the answer is a refusal, and that is an answer.
    let metadata = client_now.metadata(&CallOptions::default()).await.ok();
    drop(client_now);
    for model in models {
        let metadata = metadata.as_ref();
        let (mut ask, mut look) = (stub.clone(), stub.clone());
        // One after the other: until the first answer it is not known how many calls at once the server takes.
        let probed = look.probe(request(metadata, v1::ProbeRequest { model: model.clone(), tokens: 0 }, within)).await;
        let probed = alive(probed.map(tonic::Response::into_inner))?;
        let described = ask.get_model(request(metadata, v1::GetModelRequest { model: model.clone() }, within)).await;
        let described = described.ok().and_then(|answer| answer.into_inner().model);
        let Some(client) = client.upgrade().map(Client::of) else { return Ok(()) };
        learn(&client, id, &model, described.as_ref(), probed.and_then(|answer| answer.report));
    }
    Ok(())
}

fn request<T>(metadata: Option<&JobMetadata>, message: T, within: Duration) -> Request<T> {
    match metadata {
        Some(metadata) => metadata.request(message, 1, within),
        None => Request::new(message),
    }
}

/// A refusal is an answer; a broken connection is none.
fn alive<T>(answer: Result<T, Status>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(status) if died_in_transport(&status) => Err(Error::from_status(status)),
        Err(_) => Ok(None),
    }
}

/// Hands a server's description of one model to the fleet.
pub(crate) fn learn(
    client: &Client,
    id: EndpointId,
    model: &str,
    described: Option<&v1::ModelInfo>,
    report: Option<v1::LoadReport>,
) {
    let now = client.now();
    let mut fleet = client.fleet().lock();
    for work in [Resource::Device, Resource::Tokenizer] {
        let number = fleet.model(model, work);
        if let Some(info) = described {
            let limits = info.limits.as_ref().map(metadata::from_limits).unwrap_or_default();
            fleet.set_limits(id, number, limits, info.max_length.into());
        }
        if let Some(report) = &report {
            fleet.report(id, number, metadata::from_load_report(report), now);
        }
    }
}
