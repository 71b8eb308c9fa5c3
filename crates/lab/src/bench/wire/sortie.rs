//! sortie.v1 over the generated stubs and tonic's own transport, as people write it by hand.

use std::sync::atomic::{AtomicUsize, Ordering};

use sortie_proto::v1::{
    ChunkInfo, ClassifyRequest, EmbedRequest, Input, ItemInfo, RerankRequest,
    encoder_service_client::EncoderServiceClient, input::Kind,
};
use tonic::{
    Request,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};

use super::{
    BenchTask, CONNECTIONS, WireCall, WireHeaders,
    reply::{WireFailure, WireReply, fingerprint},
};

/// Bytes of a number of a vector: f32 is what is asked for.
const NUMBER: usize = size_of::<f32>();

/// Connections to a server.
#[derive(Debug)]
pub(super) struct SortieStubs {
    stubs: Vec<EncoderServiceClient<Channel>>,
    next: AtomicUsize,
}

impl SortieStubs {
    /// Connects when first needed.
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        let stub = || {
            EncoderServiceClient::new(endpoint.connect_lazy())
                .max_decoding_message_size(sortie_client::DEFAULT_MAX_MESSAGE_BYTES)
                .max_encoding_message_size(sortie_client::DEFAULT_MAX_MESSAGE_BYTES)
        };
        Self { stubs: (0..CONNECTIONS).map(|_| stub()).collect(), next: AtomicUsize::new(0) }
    }

    /// A connection, in turn.
    fn stub(&self) -> Option<EncoderServiceClient<Channel>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.stubs.get(turn % self.stubs.len().max(1)).cloned()
    }

    /// Asks.
    pub(super) async fn call(&self, call: WireCall<'_>, headers: &WireHeaders) -> Result<WireReply, WireFailure> {
        let mut stub = self.stub().ok_or_else(WireFailure::unavailable)?;
        let count = call.texts.len();
        let inputs = || call.texts.iter().map(|text| input(text)).collect();
        let model = headers.model.clone();
        match headers.task {
            BenchTask::Rerank => {
                let (query, documents) = (Some(input(call.query)), inputs());
                let body = RerankRequest { model, query, documents, ..RerankRequest::default() };
                let answer = stub.rerank(dressed(body, &call, headers)).await?.into_inner();
                Ok(reply(count, answer.scores, answer.items, answer.chunk))
            }
            BenchTask::Embed => {
                let body = EmbedRequest { model, inputs: inputs(), ..EmbedRequest::default() };
                let answer = stub.embed(dressed(body, &call, headers)).await?.into_inner();
                let row = (answer.dimensions as usize).saturating_mul(NUMBER).max(NUMBER);
                let rows = answer.vectors.chunks(row).map(|row| {
                    let numbers = row.chunks(NUMBER).map(|bytes| bytes.try_into().map_or(f32::NAN, f32::from_le_bytes));
                    fingerprint(&numbers.collect::<Vec<f32>>()).unwrap_or(f32::NAN)
                });
                Ok(reply(count, rows, answer.items, answer.chunk))
            }
            BenchTask::Classify => {
                let body = ClassifyRequest { model, inputs: inputs(), ..ClassifyRequest::default() };
                let answer = stub.classify(dressed(body, &call, headers)).await?.into_inner();
                let rows = answer.scores.chunks(answer.labels.len().max(1));
                let best = rows.map(|row| row.iter().copied().reduce(f32::max).unwrap_or(f32::NAN));
                Ok(reply(count, best, answer.items, answer.chunk))
            }
        }
    }
}

fn input(text: &str) -> Input {
    Input { kind: Some(Kind::Text(text.to_owned())) }
}

/// A request with its metadata.
fn dressed<T>(body: T, call: &WireCall<'_>, headers: &WireHeaders) -> Request<T> {
    let mut request = Request::new(body);
    request.set_timeout(call.timeout);
    let metadata = request.metadata_mut();
    metadata.insert("sortie-lane", MetadataValue::from_static(headers.lane));
    metadata.insert("sortie-attempt", MetadataValue::from(call.attempt));
    if let Some(tenant) = &headers.tenant {
        metadata.insert("sortie-tenant", tenant.clone());
    }
    if let Some(authorization) = &headers.authorization {
        metadata.insert("authorization", authorization.clone());
    }
    request
}

/// Numbers in order, and what is said of the items. An item that the server says has failed has no number.
fn reply(
    count: usize,
    values: impl IntoIterator<Item = f32>,
    items: Option<ItemInfo>,
    chunk: Option<ChunkInfo>,
) -> WireReply {
    let mut reply = WireReply::in_order(count, values);
    let items = items.unwrap_or_default();
    for error in &items.errors {
        if let Some(place) = reply.values.get_mut(error.index as usize) {
            *place = None;
        }
    }
    reply.truncated = items.truncated.iter().filter(|cut| **cut).count() as u64;
    reply.tokens = Some(chunk.map_or(0, |chunk| chunk.tokens));
    reply
}
