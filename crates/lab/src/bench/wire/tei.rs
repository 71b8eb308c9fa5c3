//! tei.v1 over the generated stubs: whole lists where it has them, one message a text where it has not.

use futures::{StreamExt as _, stream};
use sortie_proto::tei::{
    EmbedRequest, Metadata, PredictRequest, RerankRequest, embed_client::EmbedClient, predict_client::PredictClient,
    rerank_client::RerankClient,
};
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

use super::{
    BenchTask, WireCall, WireHeaders,
    reply::{WireFailure, WireReply, fingerprint},
};

/// A connection to a server. TEI's clients have one, and balance nothing.
#[derive(Debug)]
pub(super) struct TeiStubs {
    channel: Channel,
}

impl TeiStubs {
    /// Connects when first needed.
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        Self { channel: endpoint.connect_lazy() }
    }

    /// Asks. Texts that are too long are cut, as TEI does over HTTP where nothing is said.
    pub(super) async fn call(&self, call: WireCall<'_>, headers: &WireHeaders) -> Result<WireReply, WireFailure> {
        let channel = self.channel.clone();
        let limit = sortie_client::DEFAULT_MAX_MESSAGE_BYTES;
        let count = call.texts.len();
        let texts: Vec<String> = call.texts.iter().map(|text| (*text).to_owned()).collect();
        let mut tokens = None;
        let mut reply = match headers.task {
            BenchTask::Rerank => {
                let query = call.query.to_owned();
                let body = RerankRequest { query, texts, truncate: true, raw_scores: true, ..RerankRequest::default() };
                let mut stub =
                    RerankClient::new(channel).max_decoding_message_size(limit).max_encoding_message_size(limit);
                let answer = stub.rerank(dressed(body, &call, headers)).await?.into_inner();
                add(&mut tokens, answer.metadata.as_ref());
                WireReply::ranked(count, answer.ranks.iter().map(|rank| (rank.index as usize, rank.score)))
            }
            BenchTask::Embed => {
                let body = |inputs| EmbedRequest { inputs, truncate: true, ..EmbedRequest::default() };
                let messages = stream::iter(texts.into_iter().map(body));
                let mut stub = EmbedClient::new(channel);
                let mut answers = stub.embed_stream(dressed(messages, &call, headers)).await?.into_inner();
                let mut values = Vec::with_capacity(count);
                while let Some(answer) = answers.next().await {
                    let answer = answer?;
                    add(&mut tokens, answer.metadata.as_ref());
                    values.push(fingerprint(&answer.embeddings).unwrap_or(f32::NAN));
                }
                WireReply::in_order(count, values)
            }
            BenchTask::Classify => {
                let body = |inputs| PredictRequest { inputs, truncate: true, ..PredictRequest::default() };
                let messages = stream::iter(texts.into_iter().map(body));
                let mut stub = PredictClient::new(channel);
                let mut answers = stub.predict_stream(dressed(messages, &call, headers)).await?.into_inner();
                let mut values = Vec::with_capacity(count);
                while let Some(answer) = answers.next().await {
                    let answer = answer?;
                    add(&mut tokens, answer.metadata.as_ref());
                    let scores = answer.predictions.iter().map(|prediction| prediction.score);
                    values.push(scores.reduce(f32::max).unwrap_or(f32::NAN));
                }
                WireReply::in_order(count, values)
            }
        };
        reply.tokens = tokens;
        Ok(reply)
    }
}

fn add(tokens: &mut Option<u64>, metadata: Option<&Metadata>) {
    if let Some(metadata) = metadata {
        *tokens = Some(tokens.unwrap_or(0) + u64::from(metadata.compute_tokens));
    }
}

fn dressed<T>(body: T, call: &WireCall<'_>, headers: &WireHeaders) -> Request<T> {
    let mut request = Request::new(body);
    request.set_timeout(call.timeout);
    if let Some(authorization) = &headers.authorization {
        request.metadata_mut().insert("authorization", authorization.clone());
    }
    request
}
