//! A server below gRPC, for what a well-behaved one never does.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use h2::Reason;
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::{TcpListener, TcpStream};

/// A server that says UNIMPLEMENTED to GetModel and Probe, which is an answer, and resets every other
/// stream. Gives its address, and how many streams it has reset.
pub(crate) async fn refusing(reason: Reason) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, reason, Arc::clone(&count)));
        }
    });
    (address, refused)
}

async fn serve(stream: TcpStream, reason: Reason, refused: Arc<AtomicUsize>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let path = request.uri().path();
        if path.ends_with("/GetModel") || path.ends_with("/Probe") {
            let mut response = Response::new(());
            let headers: &mut HeaderMap = response.headers_mut();
            headers.insert("content-type", HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from_static("12"));
            // The peer may be gone.
            let _ = respond.send_response(response, true);
        } else {
            refused.fetch_add(1, Ordering::SeqCst);
            respond.send_reset(reason);
        }
    }
}
