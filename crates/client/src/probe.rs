//! The RPC Probe: a server's load, asked for beside its work.

use std::{future::Future, time::Duration};

use sortie_dispatch::{EndpointId, Failure, LoadReport};
use sortie_proto::v1;
use tokio::time::timeout;
use tonic::{Request, Status};

use crate::{failure, metadata, options::CallOptions, state::ClientState, transport::Stub};

/// Sends one Probe.
pub(crate) async fn send(mut stub: Stub, request: Request<v1::ProbeRequest>) -> Result<LoadReport, Status> {
    let report = stub.probe(request).await?.into_inner().report;
    Ok(metadata::from_load_report(&report.unwrap_or_default()))
}

/// Asks a server for the load of a model; `tokens` are reserved there for a moment. The client is
/// not held meanwhile.
pub(crate) fn probe(
    state: &ClientState,
    endpoint: EndpointId,
    model: String,
    tokens: u64,
    within: Duration,
) -> impl Future<Output = Result<LoadReport, Failure>> + Send + use<> {
    let server = state.server(endpoint);
    let credentials = state.defaults().credentials.clone();
    let plain = state.defaults().plain_metadata_of(&CallOptions::default());
    async move {
        let asked = async {
            let server = server.map_err(|_| Failure::Transport)?;
            let metadata = match plain {
                // A probe without a token is refused, and a refusal is a sign of life.
                Ok(plain) => plain.authorized(credentials.current().await.unwrap_or_default()),
                Err(_) => return Err(Failure::Fatal),
            };
            let lease = server.lease().await.map_err(|_| Failure::Transport)?;
            let request = metadata.request(v1::ProbeRequest { model, tokens }, 1, within);
            send(lease.stub(), request).await.map_err(|status| failure::of_status(status).0)
        };
        timeout(within, asked).await.unwrap_or(Err(Failure::Deadline))
    }
}
