//! HTTP/1.1 with keep-alive, as any program would send it.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use super::{
    BenchProtocol, WireCall, WireHeaders, dialect,
    reply::{WireFailure, WireReply},
};

/// A caller with connections of its own.
#[derive(Clone, Debug)]
pub(super) struct HttpPoster {
    client: Client<HttpConnector, Full<Bytes>>,
    /// Without a slash at its end.
    base: String,
    protocol: BenchProtocol,
}

impl HttpPoster {
    /// Connects when first needed.
    pub(super) fn new(address: &str, protocol: BenchProtocol) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(sortie_client::DEFAULT_CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client, base: address.trim_end_matches('/').to_owned(), protocol }
    }

    /// Asks: from texts to numbers, JSON both ways included.
    pub(super) async fn call(&self, call: WireCall<'_>, headers: &WireHeaders) -> Result<WireReply, WireFailure> {
        let task = headers.task;
        let url = format!("{}{}", self.base, dialect::path(self.protocol, task, &headers.model));
        let mut request = http::Request::post(url).header("content-type", "application/json");
        if let Some(authorization) = &headers.authorization {
            request = request.header("authorization", authorization.as_encoded_bytes());
        }
        let body = dialect::body(self.protocol, task, &headers.model, &call).ok_or_else(WireFailure::malformed)?;
        let request = request.body(Full::new(Bytes::from(body))).map_err(|_| WireFailure::malformed())?;
        let answer = self.client.request(request).await.map_err(|_| WireFailure::unavailable())?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|_| WireFailure::unavailable())?.to_bytes();
        if !status.is_success() {
            return Err(WireFailure::http(status.as_u16()));
        }
        dialect::answer(self.protocol, task, call.texts.len(), &body).ok_or_else(WireFailure::malformed)
    }
}
