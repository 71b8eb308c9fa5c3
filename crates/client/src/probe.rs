//! One probe: a server's load, asked for beside its work.

use std::{future::Future, sync::Arc, time::Duration};

use sortie_dispatch::{Failure, LoadReport};
use sortie_proto::v1;
use tokio::time::timeout;

use crate::{call::CallOptions, client::Client, error::Error, failure, metadata, transport::Server};

/// Asks a server for the load of a model; `tokens` are reserved there for a moment. The client is
/// not held meanwhile.
pub(crate) fn probe(
    client: &Client,
    server: Result<Arc<Server>, Error>,
    model: String,
    tokens: u64,
    within: Duration,
) -> impl Future<Output = Result<LoadReport, Failure>> + Send + use<> {
    let credentials = client.config().defaults.credentials.clone();
    let plain = client.plain_metadata(&CallOptions::default());
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
            match lease.stub().probe(request).await {
                Ok(answer) => {
                    let report = answer.into_inner().report.unwrap_or_default();
                    Ok(metadata::from_load_report(&report))
                }
                Err(status) => Err(failure::refused(status).0),
            }
        };
        timeout(within, asked).await.unwrap_or(Err(Failure::Deadline))
    }
}
