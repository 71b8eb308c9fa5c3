//! Questions that every server answers for itself: what it serves, and how busy it is.

use std::future::Future;

use sortie_proto::v1;

use super::MessageOptions;
use crate::{
    broadcast::{self, PerEndpoint},
    call::Sealed,
    client::Client,
    error::Error,
};

/// A message that every server is asked. Sealed: only this crate implements it.
pub trait FleetMessage: Sealed + Send + Sync + 'static {
    /// The message that answers it.
    type Answer: Send;

    #[doc(hidden)]
    fn ask(
        self,
        client: &Client,
        options: MessageOptions,
    ) -> impl Future<Output = Result<Vec<PerEndpoint<Self::Answer>>, Error>> + Send;
}

impl Client {
    /// Asks every server at once, and gives each answer as it came, in the order of [`Client::endpoints`].
    ///
    /// # Errors
    /// Where no server is known.
    pub async fn ask_servers<M: FleetMessage>(
        &self,
        message: M,
        options: MessageOptions,
    ) -> Result<Vec<PerEndpoint<M::Answer>>, Error> {
        message.ask(self, options).await
    }
}

impl Sealed for v1::ListModelsRequest {}

impl FleetMessage for v1::ListModelsRequest {
    type Answer = v1::ListModelsResponse;

    async fn ask(
        self,
        client: &Client,
        options: MessageOptions,
    ) -> Result<Vec<PerEndpoint<v1::ListModelsResponse>>, Error> {
        let options = options.call("", None);
        let answers = broadcast::broadcast(client.state(), &options, |_, mut stub, requests| {
            let request = requests.request(self);
            async move { stub.list_models(request).await }
        });
        Ok(broadcast::map(answers.await?, Ok))
    }
}

impl Sealed for v1::ProbeRequest {}

impl FleetMessage for v1::ProbeRequest {
    type Answer = v1::ProbeResponse;

    async fn ask(self, client: &Client, options: MessageOptions) -> Result<Vec<PerEndpoint<v1::ProbeResponse>>, Error> {
        let options = options.call("", None);
        let answers = broadcast::broadcast(client.state(), &options, |_, mut stub, requests| {
            let request = requests.request(self.clone());
            async move { stub.probe(request).await }
        });
        Ok(broadcast::map(answers.await?, Ok))
    }
}
