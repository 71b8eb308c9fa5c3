//! Any bytes as the message of any RPC, through a real server in this process
//! whose one model answers at once: decoding, validating, tokenizing, queueing
//! and answering. The server must answer every request and go on serving.
//!
//! The first byte picks the RPC, the second the metadata, the rest is the message.
#![no_main]

use std::{sync::LazyLock, time::Duration};

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use libfuzzer_sys::fuzz_target;
use sortie_server::{ServerConfig, config::ModelSpec};
use tokio::{net::TcpListener, runtime::Runtime};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

/// Every RPC; a seed's first byte is its position here, so new ones go to the end.
const RPCS: [&str; 12] = [
    "Rerank", "Embed", "EmbedSparse", "Classify", "TagTokens", "Similarity", "Tokenize", "GetModel", "ListModels", "Probe",
    "EmbedTokens", "Detokenize",
];

/// Longer than any answer takes; past it something hangs.
const PATIENCE: Duration = Duration::from_secs(10);

static SERVER: LazyLock<(Runtime, Channel)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let channel = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let model = ModelSpec {
            name: "m".to_owned(),
            path: "timed:a_ms=0,b_us=0".to_owned(),
            max_length: None,
            pooling: None,
            prefer_onnx: false,
            onnx_file: None,
        };
        let config = ServerConfig { models: vec![model], tokenize_threads: 1, ..ServerConfig::default() };
        tokio::spawn(sortie_server::serve(listener, config, std::future::pending()));
        let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
        endpoint.connect().await.expect("the server accepts")
    });
    (runtime, channel)
});

/// Messages as they stand.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

async fn call(channel: &Channel, rpc: &str, flags: u8, message: Bytes) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let mut request = Request::new(message);
    for (bit, key, value) in [
        (0, "sortie-lane", "bulk"),
        (1, "sortie-attempt", "2"),
        (2, "sortie-job-id", "j"),
        (3, "sortie-tenant", "t"),
        (4, "grpc-timeout", "50m"),
        (5, "sortie-attempt", "nonsense"),
    ] {
        if flags >> bit & 1 == 1 {
            request.metadata_mut().append(key, value.parse().expect("plain text"));
        }
    }
    let path = PathAndQuery::try_from(format!("/sortie.v1.EncoderService/{rpc}")).expect("a path");
    grpc.unary(request, path, Raw).await.map(|_| ())
}

// Panics that are caught, as those of a tokenizer crate are, are no finds; libFuzzer's own hook would abort at them.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| ())), |bytes: &[u8]| {
    let [which, flags, message @ ..] = bytes else { return };
    let rpc = RPCS[usize::from(*which) % RPCS.len()];
    let (runtime, channel) = &*SERVER;
    let message = Bytes::copy_from_slice(message);
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, call(channel, rpc, *flags, message)).await });
    match answer.expect("an answer in time") {
        Ok(()) => {}
        Err(status) => assert!(
            !matches!(status.code(), Code::Internal | Code::Unknown | Code::Unavailable | Code::DataLoss)
                || status.message().starts_with("failed to decode Protobuf message"),
            "{rpc}: {status:?}"
        ),
    }
});
