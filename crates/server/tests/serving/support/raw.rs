//! Requests that no proper client sends: raw message bytes, and bodies that do
//! not end.

use bytes::{Buf as _, BufMut as _};
use futures::{StreamExt as _, channel::oneshot, stream};
use sortie_proto::v1::{self, encoder_service_client::EncoderServiceClient};
use tokio::task::JoinHandle;
use tonic::{
    Code, Request, Response, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

/// Message bytes as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RawCodec;

impl Codec for RawCodec {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

/// Sends `messages` as the body of one call of `rpc`.
pub(crate) async fn call<S>(channel: Channel, rpc: &str, messages: S) -> Result<Response<Vec<u8>>, Status>
where
    S: futures::Stream<Item = Vec<u8>> + Send + 'static,
{
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = format!("/sortie.v1.EncoderService/{rpc}").parse().unwrap();
    grpc.client_streaming(Request::new(messages), path, RawCodec).await
}

/// Sends one message of these bytes.
pub(crate) async fn send(channel: Channel, rpc: &str, bytes: Vec<u8>) -> Result<Response<Vec<u8>>, Status> {
    call(channel, rpc, stream::iter([bytes])).await
}

/// A request whose message does not come until it is dropped.
pub(crate) struct Held {
    pub(crate) end: oneshot::Sender<Vec<u8>>,
    pub(crate) call: JoinHandle<Result<Response<Vec<u8>>, Status>>,
}

/// Takes the one place of a server with `max_concurrent_requests` 1, and gives the refusal that the next request got.
pub(crate) async fn hold(channel: Channel) -> (Held, Status) {
    let mut client = EncoderServiceClient::new(channel.clone());
    let hold = || {
        let (end, ended) = oneshot::channel::<Vec<u8>>();
        let body = stream::once(ended).filter_map(async |message| message.ok());
        Held { end, call: tokio::spawn(call(channel.clone(), "Rerank", body)) }
    };
    let mut held = hold();
    loop {
        match client.tokenize(v1::TokenizeRequest::default()).await {
            Err(status) if status.code() == Code::ResourceExhausted => return (held, status),
            // The other request had the place first, and the held one was refused.
            _ if held.call.is_finished() => held = hold(),
            _ => tokio::task::yield_now().await,
        }
    }
}
