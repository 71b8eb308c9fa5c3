//! Messages of a stream: several are worked on at once, and answered in their order. The first that fails ends the
//! stream, as gRPC has it.

use std::{future::Future, pin::Pin};

use futures::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

/// Messages of one stream that are worked on at once: a few batches of short texts.
const AT_ONCE: usize = 64;

/// Answers of a stream.
pub(super) type TeiStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers each message by `call`, which is given the stream's metadata.
pub(super) fn each<M, A, F>(
    request: Request<Streaming<M>>,
    call: impl Fn(Request<M>) -> F + Send + 'static,
) -> Response<TeiStream<A>>
where
    M: Send + 'static,
    A: Send + 'static,
    F: Future<Output = Result<Response<A>, Status>> + Send + 'static,
{
    let (metadata, _, messages): (MetadataMap, _, _) = request.into_parts();
    let calls = messages.map(move |message| {
        let call = message.map(|message| {
            let mut request = Request::new(message);
            *request.metadata_mut() = metadata.clone();
            call(request)
        });
        async move { Ok(call?.await?.into_inner()) }
    });
    Response::new(Box::pin(calls.buffered(AT_ONCE)))
}
