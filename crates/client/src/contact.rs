//! First contact with a server on a new connection, and reports to the fleet about which
//! servers are connected.
//!
//! The call that checks a connection also asks for the load and, for each model in use, for
//! the limits of a request. So plans can use a server that joins or comes back from its first
//! chunk on.

use std::{fmt, future::Future, pin::Pin, sync::Weak, time::Duration};

use sortie_dispatch::{EndpointId, FleetEvent, Resource};
use sortie_proto::v1;
use tonic::{Request, Status};

use crate::{
    call::CallOptions,
    client::{Client, Inner},
    error::Error,
    failure::died_in_transport,
    metadata::{self, JobMetadata},
    scatter::Stub,
    transport::Watcher,
};

/// Checks new connections for a client that it holds weakly, since the client may be dropped at any time.
pub(crate) struct Contact {
    client: Weak<Inner>,
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contact")
    }
}

impl Contact {
    pub(crate) fn new(client: Weak<Inner>) -> Self {
        Self { client }
    }

    fn client(&self) -> Option<Client> {
        self.client.upgrade().map(Client::of)
    }
}

impl Watcher for Contact {
    fn prove(&self, id: EndpointId, stub: Stub) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
        let client = self.client.clone();
        Box::pin(prove(client, id, stub))
    }

    fn connected(&self, id: EndpointId, connected: bool) {
        let Some(client) = self.client() else { return };
        if !connected {
            client.background().moved();
        }
        client.tell(if connected { FleetEvent::Connected(id) } else { FleetEvent::Disconnected(id) });
    }
}

async fn prove(client: Weak<Inner>, id: EndpointId, stub: Stub) -> Result<(), Error> {
    // The client is held for moments only, so that it can go while a server keeps silent.
    let Some(client_now) = client.upgrade().map(Client::of) else { return Ok(()) };
    let mut models = client_now.acquainted().models();
    if models.is_empty() {
        models.push(client_now.setup().defaults.model.clone());
    }
    let within = client_now.setup().transport.connect_timeout;
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
