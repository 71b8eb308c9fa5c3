//! Messages of the contract as they stand, cut over servers: for a program between callers and servers, such as a
//! gateway.
//!
//! A message goes out with every field its caller set: it is cut at its items, and what it has besides goes with each
//! chunk. The answer is the message that one server would have sent, but for [`v1::ChunkInfo`], which says what
//! all chunks together took: the longest waits, for chunks run side by side, and the sum of their work.
//!
//! Items that are the same in every byte are sent once ([`distinct`]), and not at all where an [`AnswerStore`] has their
//! answers ([`kept`]). `ItemInfo` counts every item, as one server would; `ChunkInfo` what was computed.

mod answer;
mod distinct;
mod fleet;
mod kept;
mod run;
mod scores;
mod size;
mod texts;
mod vectors;

use std::{future::Future, sync::Arc, time::Duration};

use sortie_proto::v1;

pub use self::{
    fleet::FleetMessage,
    kept::{AnswerName, AnswerStore},
};
use crate::{
    call::Sealed,
    client::Client,
    error::Error,
    input::TextOptions,
    job::chunked::ChunkedRpc,
    metadata::Lane,
    options::{CallOptions, Join, RevisionPolicy},
    report::Report,
};

/// How a message is sent; what is not set is the client's.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MessageOptions {
    /// Time the whole job may take.
    pub deadline: Option<Duration>,
    /// The lane.
    pub lane: Option<Lane>,
    /// The tenant.
    pub tenant: Option<String>,
    /// The job's id.
    pub job_id: Option<String>,
    /// A W3C trace context.
    pub traceparent: Option<String>,
    /// Whether late chunks may be hedged.
    pub hedging: Option<bool>,
    /// When the job is done.
    pub join: Join,
    /// What happens when chunks were answered by different revisions of the model.
    pub revisions: RevisionPolicy,
    /// Where answers of its items may be, and are kept.
    pub answers: Option<Arc<dyn AnswerStore>>,
}

impl MessageOptions {
    fn call(self, model: &str, text: Option<&v1::TextOptions>) -> CallOptions {
        let Self { deadline, lane, tenant, job_id, traceparent, hedging, join, revisions, answers: _ } = self;
        // The message brings its own; these are for estimates.
        let max_length = text.map(|text| text.max_length).filter(|&tokens| tokens > 0);
        CallOptions {
            model: (!model.is_empty()).then(|| model.to_owned()),
            deadline,
            lane,
            tenant,
            job_id,
            traceparent,
            revisions,
            join,
            hedging,
            text: TextOptions { max_length, ..TextOptions::default() },
        }
    }
}

/// The answer to a message.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MessageAnswer<A> {
    /// The message.
    pub message: A,
    /// What happened.
    pub report: Report,
}

/// A message that can be cut over servers. Sealed: only this crate implements it.
pub trait Message: Sealed + Send + 'static {
    /// The message that answers it.
    type Answer: Send;

    #[doc(hidden)]
    fn run(
        self,
        client: &Client,
        options: MessageOptions,
    ) -> impl Future<Output = Result<MessageAnswer<Self::Answer>, Error>> + Send;
}

impl Client {
    /// Sends a message of the contract as it stands, cut over servers as any job is. Its model may be empty where the
    /// client has a default.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = sortie_testkit::TestServer::start().await?;
    /// # let client = sortie_client::Client::builder().endpoint(server.address()).connect().await?;
    /// use sortie_proto::v1::{Input, EmbedRequest, input::Kind};
    ///
    /// let input = Input { kind: Some(Kind::Text("a text".to_owned())) };
    /// let message = EmbedRequest { inputs: vec![input], ..EmbedRequest::default() };
    /// let answer = client.send(message, Default::default()).await?;
    /// assert_eq!(answer.message.items.unwrap().tokens.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As of any call.
    pub async fn send<M: Message>(
        &self,
        message: M,
        options: MessageOptions,
    ) -> Result<MessageAnswer<M::Answer>, Error> {
        message.run(self, options).await
    }
}

/// A message, its items beside it.
#[derive(Clone, Debug)]
struct Pass<M> {
    head: M,
    items: Vec<v1::Input>,
}

/// A message whose answer can be made of the answers of its items.
trait PassedRpc:
    ChunkedRpc<
        Response: prost::Message + Default,
        Value: Clone + size::AnswerBytes,
        Output = MessageAnswer<<Self as ChunkedRpc>::Response>,
    >
{
}

impl<R> PassedRpc for R where
    R: ChunkedRpc<
            Response: prost::Message + Default,
            Value: Clone + size::AnswerBytes,
            Output = MessageAnswer<<R as ChunkedRpc>::Response>,
        >
{
}

/// What is the same for every message: how it is taken apart, put together for a chunk, and sent.
macro_rules! message {
    ($request:ty, $response:ty, $items:ident, $text:expr) => {
        impl crate::call::Sealed for $request {}

        impl super::Message for $request {
            type Answer = $response;

            async fn run(
                mut self,
                client: &crate::client::Client,
                mut options: super::MessageOptions,
            ) -> Result<super::MessageAnswer<$response>, crate::error::Error> {
                let text: fn(&$request) -> Option<&sortie_proto::v1::TextOptions> = $text;
                let answers = options.answers.take();
                let options = options.call(&self.model, text(&self));
                let items = std::mem::take(&mut self.$items);
                super::run::run(super::Pass { head: self, items }, client, options, answers).await
            }
        }

        impl super::Pass<$request> {
            fn chunk(&self, model: &str, items: Vec<sortie_proto::v1::Input>) -> $request {
                let mut message = self.head.clone();
                message.$items = items;
                model.clone_into(&mut message.model);
                message
            }
        }
    };
}
use message;
