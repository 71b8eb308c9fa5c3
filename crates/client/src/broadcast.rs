//! Calls that are not cut: to every server at once, or to one after the other.

use std::{future::Future, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::join_all};
use sortie_dispatch::EndpointId;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use crate::{
    background,
    error::{Error, ErrorKind},
    metadata::JobMetadata,
    options::CallOptions,
    state::ClientState,
    transport::{Server, Stub},
};

/// What one server answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PerEndpoint<T> {
    /// Its address.
    pub endpoint: String,
    /// Time to the answer, or to giving up, with the wait for a connection.
    pub elapsed: Duration,
    /// The answer.
    pub result: Result<T, Error>,
}

/// Makes requests with the metadata of one attempt and the time it has left.
pub(crate) struct RequestFactory<'a> {
    metadata: &'a JobMetadata,
    attempt: u32,
    remaining: Duration,
}

impl RequestFactory<'_> {
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        self.metadata.request(message, self.attempt, self.remaining)
    }
}

/// The error for an answer that lacks its main field.
pub(crate) fn incomplete(rpc: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("the answer to {rpc} is empty"))
}

async fn call_one<T, F>(server: &Server, deadline: Instant, call: impl FnOnce(Stub) -> F) -> PerEndpoint<T>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let started = Instant::now();
    let endpoint = server.address().to_owned();
    let answer = async {
        let lease = server.lease().await?;
        call(lease.stub()).await.map(Response::into_inner).map_err(Error::from_status)
    };
    let result = timeout_at(deadline, answer).await.unwrap_or_else(|_| Err(Error::deadline()));
    let result = result.map_err(|error| error.with_attempts(1).with_endpoint(&endpoint));
    PerEndpoint { endpoint, elapsed: started.elapsed(), result }
}

/// Asks every server at once; answers come in the servers' order.
pub(crate) async fn broadcast<T, F>(
    state: &Arc<ClientState>,
    options: &CallOptions,
    call: impl Fn(EndpointId, Stub, RequestFactory<'_>) -> F,
) -> Result<Vec<(EndpointId, PerEndpoint<T>)>, Error>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let (within, deadline) = state.defaults().deadline_of(options);
    background::start(state, deadline).await?;
    let metadata = state.defaults().metadata_of(options).await?;
    let requests = || RequestFactory { metadata: &metadata, attempt: 1, remaining: within };
    let servers = state.servers();
    let calls = servers.iter().map(|(id, server)| {
        let answer = call_one(server, deadline, |stub| call(*id, stub, requests()));
        answer.map(|answer| (*id, answer))
    });
    Ok(join_all(calls).await)
}

/// Asks one server after the other until one answers, connected ones first. A refusal that every
/// server would repeat ends it.
pub(crate) async fn call_in_turn<T, F>(
    state: &Arc<ClientState>,
    options: &CallOptions,
    call: impl Fn(Stub, RequestFactory<'_>) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let (_, deadline) = state.defaults().deadline_of(options);
    background::start(state, deadline).await?;
    let metadata = state.defaults().metadata_of(options).await?;
    let mut last = None;
    let mut servers = state.servers();
    servers.sort_by_key(|(_, server)| server.connections() == 0);
    for (attempt, (_, server)) in (1..).zip(servers) {
        let remaining = deadline.saturating_duration_since(Instant::now());
        let requests = RequestFactory { metadata: &metadata, attempt, remaining };
        let answer = call_one(&server, deadline, |stub| call(stub, requests)).await.result;
        match answer {
            Ok(answer) => return Ok(answer),
            Err(error) if !error.is_retryable() && error.kind() != ErrorKind::NotFound => {
                return Err(error.with_attempts(attempt));
            }
            Err(error) => last = Some(error.with_attempts(attempt)),
        }
    }
    Err(last.unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "the client has no endpoints")))
}

/// Turns each answer into what callers see.
pub(crate) fn map<T, U>(
    answers: Vec<(EndpointId, PerEndpoint<T>)>,
    f: impl Fn(T) -> Result<U, Error>,
) -> Vec<PerEndpoint<U>> {
    let per_endpoint =
        |(_, PerEndpoint { endpoint, elapsed, result })| PerEndpoint { endpoint, elapsed, result: result.and_then(&f) };
    answers.into_iter().map(per_endpoint).collect()
}
