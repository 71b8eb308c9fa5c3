//! First contact with servers, before they get work: their load and limits (Probe) and, once a model, the model itself
//! (GetModel).
//!
//! * Every new connection is checked by one Probe ([`ConnectionCheck`]). On a server's first connection all models in use
//!   are asked about, so that plans can use a server that joins or comes back from its first chunk on.
//! * Before the first job of a model every server that is known then is asked to describe it, and for its load where the check of its
//!   connection has not asked for that model already ([`ensure_described`]).
//!
//! The first job waits at most [`crate::DEFAULT_DESCRIBE_TIMEOUT`] for the answers and goes on with those that
//! came. Later jobs learn from the trailers of answers.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};

use sortie_dispatch::{EndpointId, FleetEvent, LoadReport, Resource, WorkCurve};
use sortie_proto::v1;
use tokio::time::Instant;
use tonic::{Request, Response};

use crate::{
    background, broadcast,
    error::{Error, ErrorKind},
    failure::died_in_transport,
    metadata,
    options::CallOptions,
    probe,
    state::ClientState,
    transport::{ConnectionObserver, Stub},
};

/// What servers spend on the work of a model; each has limits and costs of its own.
const RESOURCES: [Resource; 2] = [Resource::Device, Resource::Tokenizer];

/// Asks every server about the client's model, and fails where none says anything useful.
pub(crate) async fn describe_servers(state: &Arc<ClientState>) -> Result<(), Error> {
    let model = state.defaults().model.as_str();
    let within = state.config.first_contact_timeout();
    // The first job need not ask again.
    match state.model(model).get_or_try_init(|| describe(state, model, within)).await {
        Ok(()) => Ok(()),
        Err(error) => {
            state.forget_model(model);
            // Servers of several models want a name, which each call may give.
            let wants_name = matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::NotFound);
            if model.is_empty() && wants_name { Ok(()) } else { Err(error) }
        }
    }
}

/// Makes sure that the servers of a model were asked about it. No answer is no failure: the job
/// itself finds out more. Fails only where no server is known at all.
pub(crate) async fn ensure_described(state: &Arc<ClientState>, model: &str, deadline: Instant) -> Result<(), Error> {
    background::start(state, deadline).await?;
    let cell = state.model(model);
    if cell.initialized() {
        return Ok(());
    }
    let within = state.config.describe_timeout.min(deadline.saturating_duration_since(Instant::now()));
    if let Err(error) = cell.get_or_try_init(|| describe(state, model, within)).await {
        tracing::debug!(model, %error, "no server described the model");
        // Names that nobody serves are not remembered.
        state.forget_model(model);
    }
    Ok(())
}

/// Asks every server about a model. Fails with the last error where none describes it.
async fn describe(state: &Arc<ClientState>, model: &str, within: Duration) -> Result<(), Error> {
    let options = CallOptions { deadline: Some(within), ..CallOptions::default() };
    let answers = broadcast::broadcast(state, &options, |id, mut stub, requests| {
        let describe = requests.request(v1::GetModelRequest { model: model.to_owned() });
        let probe = requests.request(v1::ProbeRequest { model: model.to_owned(), tokens: 0 });
        // One after the other: a server may take few calls at once.
        async move {
            let described = stub.get_model(describe).await?.into_inner().model;
            // The connection that the stub is of was checked, perhaps by asking about this very model.
            let report = if has_report(state, id, model) { None } else { probe::send(stub, probe).await.ok() };
            Ok(Response::new((described, report)))
        }
    });
    let mut failure = None;
    let mut known = false;
    for (id, answer) in answers.await? {
        match answer.result {
            Ok((described, report)) => {
                known = true;
                learn(state, id, model, described.as_ref(), report);
            }
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if !known => Err(error),
        _ => Ok(()),
    }
}

/// Checks new connections for a client that it holds weakly, since the client may be dropped at any time.
pub(crate) struct ConnectionCheck {
    state: Weak<ClientState>,
}

impl ConnectionCheck {
    pub(crate) fn new(state: Weak<ClientState>) -> Self {
        Self { state }
    }
}

impl ConnectionObserver for ConnectionCheck {
    fn check_connection(&self, id: EndpointId, stub: Stub) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
        Box::pin(check_connection(self.state.clone(), id, stub))
    }

    fn connected(&self, id: EndpointId, connected: bool) {
        let Some(state) = self.state.upgrade() else { return };
        if !connected {
            state.disconnects.send_modify(|count| *count += 1);
        }
        state.tell(if connected { FleetEvent::Connected(id) } else { FleetEvent::Disconnected(id) });
    }
}

async fn check_connection(weak: Weak<ClientState>, id: EndpointId, stub: Stub) -> Result<(), Error> {
    // The client is held for moments only, so that it can go while a server keeps silent.
    let Some(state) = weak.upgrade() else { return Ok(()) };
    let mut models = state.models();
    if models.is_empty() {
        models.push(state.defaults().model.clone());
    }
    if state.server(id).is_ok_and(|server| server.connections() > 0) {
        // The server was asked about the others on its first connection.
        models.truncate(1);
    }
    let within = state.config.transport.connect_timeout;
    // Without a token the answer is a refusal, and that is an answer.
    let metadata = state.defaults().metadata_of(&CallOptions::default()).await.ok();
    drop(state);
    // One after the other: until the first answer it is not known how many calls at once the server takes.
    for model in models {
        let message = v1::ProbeRequest { model: model.clone(), tokens: 0 };
        let request = match &metadata {
            Some(metadata) => metadata.request(message, 1, within),
            None => Request::new(message),
        };
        let report = match probe::send(stub.clone(), request).await {
            Ok(report) => Some(report),
            // A broken connection is no answer; a refusal is one.
            Err(status) if died_in_transport(&status) => return Err(Error::from_status(status)),
            Err(_) => None,
        };
        let Some(state) = weak.upgrade() else { return Ok(()) };
        learn(&state, id, &model, None, report);
    }
    Ok(())
}

/// Whether a server has reported its load for a model.
fn has_report(state: &ClientState, id: EndpointId, model: &str) -> bool {
    let mut fleet = state.fleet();
    let number = fleet.model(model, Resource::Device);
    fleet.has_report(id, number)
}

/// Hands what a server said of one model to the fleet.
fn learn(
    state: &ClientState,
    id: EndpointId,
    model: &str,
    described: Option<&v1::ModelInfo>,
    report: Option<LoadReport>,
) {
    let now = state.now();
    let mut fleet = state.fleet();
    for resource in RESOURCES {
        let number = fleet.model(model, resource);
        if let Some(info) = described {
            let limits = info.limits.as_ref().map(metadata::from_limits).unwrap_or_default();
            fleet.set_limits(id, number, limits, info.max_length.into());
            if resource == Resource::Device {
                fleet.set_curve(number, WorkCurve::new(info.doubling_length));
            }
        }
        if let Some(report) = report {
            fleet.report(id, number, report, now);
        }
    }
}
