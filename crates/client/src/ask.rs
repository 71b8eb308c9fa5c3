//! Calls that are not cut: to every server at once, or to one after the other.

use std::{future::Future, time::Duration};

use futures::{FutureExt as _, future::join_all};
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use crate::{
    call::CallOptions,
    client::Client,
    error::{Error, ErrorKind},
    metadata::JobMetadata,
    rpc::models::PerEndpoint,
    scatter::Stub,
};

/// Wraps a message in the metadata of this attempt.
pub(crate) struct Wrap<'a> {
    metadata: &'a JobMetadata,
    attempt: u32,
    remaining: Duration,
}

impl Wrap<'_> {
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        self.metadata.request(message, self.attempt, self.remaining)
    }
}

/// An answer that lacks what it is for.
pub(crate) fn incomplete(rpc: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("the answer to {rpc} is empty"))
}

async fn one<T, F>(client: &Client, index: usize, deadline: Instant, call: impl FnOnce(Stub) -> F) -> PerEndpoint<T>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let started = Instant::now();
    let endpoint = client.address(index);
    let answer = async {
        let connection = client.connection(index)?;
        let answer = timeout_at(deadline, call(connection.stub())).await;
        match answer {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Error::from_status(status)),
            Err(_) => Err(Error::deadline()),
        }
    };
    let result = answer.await.map_err(|error| error.with_attempts(1).with_endpoint(&endpoint));
    PerEndpoint { endpoint, rtt: started.elapsed(), result }
}

/// Asks every server at once; answers come in the servers' order.
pub(crate) async fn every<T, F>(
    client: &Client,
    options: &CallOptions,
    call: impl Fn(Stub, Wrap<'_>) -> F,
) -> Result<Vec<PerEndpoint<T>>, Error>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let metadata = client.metadata(options)?;
    let (within, deadline) = client.deadline(options);
    let wrap = || Wrap { metadata: &metadata, attempt: 1, remaining: within };
    let calls = (0..client.len()).map(|index| one(client, index, deadline, |stub| call(stub, wrap())));
    Ok(join_all(calls).await)
}

/// Asks one server after the other until one answers. A refusal that every server would repeat ends it.
pub(crate) async fn first<T, F>(
    client: &Client,
    options: &CallOptions,
    call: impl Fn(Stub, Wrap<'_>) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let metadata = client.metadata(options)?;
    let (_, deadline) = client.deadline(options);
    let mut last = None;
    for (attempt, index) in (1..).zip(0..client.len()) {
        let remaining = deadline.saturating_duration_since(Instant::now());
        let wrap = Wrap { metadata: &metadata, attempt, remaining };
        let answer = one(client, index, deadline, |stub| call(stub, wrap)).map(|answer| answer.result).await;
        match answer {
            Ok(answer) => return Ok(answer),
            Err(error) if !error.is_retryable() && error.kind() != ErrorKind::NotFound => {
                return Err(error.with_attempts(attempt));
            }
            Err(error) => last = Some(error.with_attempts(attempt)),
        }
    }
    Err(last.unwrap_or_else(|| Error::new(ErrorKind::Config, "the client has no endpoints")))
}

/// Turns each answer into what callers see.
pub(crate) fn map<T, U>(answers: Vec<PerEndpoint<T>>, f: impl Fn(T) -> Result<U, Error>) -> Vec<PerEndpoint<U>> {
    let one = |PerEndpoint { endpoint, rtt, result }| PerEndpoint { endpoint, rtt, result: result.and_then(&f) };
    answers.into_iter().map(one).collect()
}
