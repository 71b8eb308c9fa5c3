//! Classify: a score per label an input.

use sortie_proto::v1;
use tonic::{Response, Status};

use super::{chunked, finite_row};
use crate::{
    call::Call,
    client::Client,
    input::{Activation, Input, to_wire},
    job::chunked::{ChunkAnswer, ChunkedRpc, Malformed, MergedAnswer, expect_len},
    report::Report,
    transport::Stub,
};

/// Labels assumed of a model: heads with more are rare, and messages have room to spare.
const ASSUMED_LABELS: u64 = 1_024;

/// Scores inputs against the model's labels; made by [`Client::classify`].
#[derive(Clone, Debug)]
pub struct Classify {
    inputs: Vec<v1::Input>,
    activation: Activation,
}

/// Label scores.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Classified {
    /// Labels, in score order.
    pub labels: Vec<String>,
    /// One score a label, an input, in request order; `None` where it failed, with its reason in
    /// [`Report::errors`].
    pub scores: Vec<Option<Vec<f32>>>,
    /// What was done to the logits.
    pub activation: Activation,
    /// What happened.
    pub report: Report,
}

impl Classified {
    /// The best label of input `index` and its score, if it has one.
    #[must_use]
    pub fn best(&self, index: usize) -> Option<(&str, f32)> {
        let scores = self.scores.get(index)?.as_ref()?;
        let label = sortie_proto::ranking::first(scores)?;
        Some((self.labels.get(label)?, *scores.get(label)?))
    }
}

impl Client {
    /// Scores inputs against the model's labels. Works on heads of one label too.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = sortie_testkit::TestServer::start().await?;
    /// # let client = sortie_client::Client::builder().endpoint(server.address()).connect().await?;
    /// let answer = client.classify(["what a day"]).await?;
    /// if let Some((label, score)) = answer.best(0) {
    ///     println!("{label} {score}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn classify<I>(&self, inputs: I) -> Call<Classify>
    where
        I: IntoIterator,
        I::Item: Into<Input>,
    {
        Call::new(self, Classify { inputs: to_wire(inputs), activation: Activation::default() })
    }
}

impl Call<Classify> {
    /// Sets the activation that is applied to the logits.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.rpc.activation = activation;
        self
    }
}

/// Bytes of one input's scores.
pub(crate) const ANSWER_BYTES: u64 = size_of::<f32>() as u64 * ASSUMED_LABELS;

/// The scores of each of `count` inputs.
pub(crate) fn rows(scores: &[f32], labels: usize, count: usize) -> Result<impl Iterator<Item = Vec<f32>>, Malformed> {
    expect_len("scores", scores.len(), count * labels)?;
    Ok((0..count).map(move |at| scores.get(at * labels..(at + 1) * labels).unwrap_or_default().to_vec()))
}

impl ChunkedRpc for Classify {
    type Request = v1::ClassifyRequest;
    type Response = v1::ClassifyResponse;
    type Head = (Vec<String>, Activation);
    type Value = Vec<f32>;
    type Output = Classified;

    const NAME: &'static str = "Classify";
    const ITEMS: &'static str = "inputs";

    fn items(&self) -> &[v1::Input] {
        &self.inputs
    }

    fn answer_bytes(&self, _tokens: u64) -> u64 {
        ANSWER_BYTES
    }

    fn request(&self, model: &str, text: v1::TextOptions, items: Vec<v1::Input>) -> v1::ClassifyRequest {
        v1::ClassifyRequest {
            model: model.to_owned(),
            inputs: items,
            options: Some(text),
            activation: self.activation.to_wire(),
        }
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::ClassifyRequest>,
    ) -> Result<Response<v1::ClassifyResponse>, Status> {
        stub.classify(request).await
    }

    fn open(response: v1::ClassifyResponse, count: usize) -> Result<ChunkAnswer<Self::Head, Vec<f32>>, Malformed> {
        let activation = Activation::from_wire(response.activation());
        let v1::ClassifyResponse { labels, scores, items, chunk, .. } = response;
        let values = rows(&scores, labels.len(), count)?.map(finite_row).collect();
        Ok(ChunkAnswer {
            head: (labels, activation),
            values,
            items: items.unwrap_or_default(),
            chunk: chunk.unwrap_or_default(),
        })
    }

    fn finish(&self, merged: MergedAnswer<Self::Head, Vec<f32>>) -> Classified {
        let MergedAnswer { head, values, report } = merged;
        let (labels, activation) = head.unwrap_or((Vec::new(), self.activation));
        Classified { labels, scores: values, activation, report }
    }
}

chunked!(Classify);
