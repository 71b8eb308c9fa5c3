//! GetModel, ListModels and Probe: what servers serve, and how busy they are.
//! None of them is cut: `get_model` asks servers until one answers, the others ask
//! every server and answer for each.

use sortie_proto::v1;

use crate::{
    broadcast::{self, PerEndpoint},
    call::{Call, Rpc, Sealed},
    client::Client,
    error::Error,
    model::{ModelInfo, ModelLoad},
    options::CallOptions,
};

/// Describes one model; made by [`Client::get_model`].
#[derive(Clone, Debug)]
pub struct GetModel(());

/// Describes every model; made by [`Client::list_models`].
#[derive(Clone, Debug)]
pub struct ListModels(());

/// Asks for a model's load; made by [`Client::probe`].
#[derive(Clone, Debug)]
pub struct Probe(());

impl Client {
    /// Describes the client's model, or the one that [`Call::model`] names: the first answer of a
    /// server, or the refusal of the last where none answers.
    pub fn get_model(&self) -> Call<GetModel> {
        Call::new(self, GetModel(()))
    }

    /// Describes every model of every server, in the order of [`Client::endpoints`].
    pub fn list_models(&self) -> Call<ListModels> {
        Call::new(self, ListModels(()))
    }

    /// Asks every server for the load of the model, in the order of [`Client::endpoints`]. No
    /// server's queue is touched.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = sortie_testkit::TestServer::start().await?;
    /// # let client = sortie_client::Client::builder().endpoint(server.address()).connect().await?;
    /// for answer in client.probe().await? {
    ///     match answer.result {
    ///         Ok(load) => println!("{} starts in {:?}", answer.endpoint, load.queue_wait),
    ///         Err(error) => println!("{} {error}", answer.endpoint),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn probe(&self) -> Call<Probe> {
        Call::new(self, Probe(()))
    }
}

impl Sealed for GetModel {}

impl Rpc for GetModel {
    type Output = ModelInfo;

    async fn run(self, client: Client, options: CallOptions) -> Result<ModelInfo, Error> {
        let model = client.state().defaults().model_of(&options).to_owned();
        let response = broadcast::call_in_turn(client.state(), &options, |mut stub, requests| {
            let request = requests.request(v1::GetModelRequest { model: model.clone() });
            async move { stub.get_model(request).await }
        })
        .await?;
        response.model.map(ModelInfo::from).ok_or_else(|| broadcast::incomplete("GetModel"))
    }
}

impl Sealed for ListModels {}

impl Rpc for ListModels {
    type Output = Vec<PerEndpoint<Vec<ModelInfo>>>;

    async fn run(self, client: Client, options: CallOptions) -> Result<Self::Output, Error> {
        let answers = broadcast::broadcast(client.state(), &options, |_, mut stub, requests| {
            let request = requests.request(v1::ListModelsRequest {});
            async move { stub.list_models(request).await }
        })
        .await?;
        Ok(broadcast::map(answers, |list| Ok(list.models.into_iter().map(ModelInfo::from).collect())))
    }
}

impl Sealed for Probe {}

impl Rpc for Probe {
    type Output = Vec<PerEndpoint<ModelLoad>>;

    async fn run(self, client: Client, options: CallOptions) -> Result<Self::Output, Error> {
        let model = client.state().defaults().model_of(&options).to_owned();
        let answers = broadcast::broadcast(client.state(), &options, |_, mut stub, requests| {
            let request = requests.request(v1::ProbeRequest { model: model.clone(), tokens: 0 });
            async move { stub.probe(request).await }
        })
        .await?;
        Ok(broadcast::map(answers, |v1::ProbeResponse { report, replica }| {
            let report = report.ok_or_else(|| broadcast::incomplete("Probe"))?;
            Ok(ModelLoad::from_wire(report, replica))
        }))
    }
}
