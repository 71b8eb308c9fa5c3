//! A search service's handler: takes hits, gives them back best first.
//!
//! ```text
//! cargo run -p sortie-client --example rerank_handler -- http://127.0.0.1:50051
//! curl -s localhost:8080/rerank -H 'content-type: application/json' \
//!   -d '{"query": "parse command line arguments", "hits": [{"id": 1, "text": "a parser of flags"}, {"id": 2, "text":
//!   "a clock"}]}'
//! ```
//!
//! What to note:
//! * one [`Client`] for the whole service, cloned into handlers: it is what knows the fleet;
//! * a deadline below the service's own, and `Join::Coverage`: a page of hits is better late by nothing
//!   and short of a few scores than not there. Hits without a score keep their place after the others;
//! * a request that is dropped by its caller drops the handler's future, and with it the work.

use std::time::Duration;

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde::{Deserialize, Serialize};
use sortie_client::{Client, Error, ErrorKind, Join};

/// What is left of this service's 100 ms when it comes to ranking.
const RANKING: Duration = Duration::from_millis(60);

#[derive(Deserialize)]
struct Search {
    query: String,
    hits: Vec<Hit>,
}

#[derive(Clone, Deserialize, Serialize)]
struct Hit {
    id: u64,
    text: String,
}

#[derive(Serialize)]
struct Ranking {
    hits: Vec<Scored>,
    /// Share of the hits that have a score.
    coverage: f64,
}

#[derive(Serialize)]
struct Scored {
    #[serde(flatten)]
    hit: Hit,
    score: Option<f32>,
}

async fn rerank(
    State(client): State<Client>,
    Json(search): Json<Search>,
) -> Result<Json<Ranking>, (StatusCode, String)> {
    let Search { query, hits } = search;
    if hits.is_empty() {
        return Ok(Json(Ranking { hits: Vec::new(), coverage: 1.0 }));
    }
    let answer = client
        .rerank(query, hits.iter().map(|hit| hit.text.as_str()))
        .deadline(RANKING)
        .join(Join::Coverage { min: 0.9, soft_wait: Duration::from_millis(5) })
        .await
        .map_err(refuse)?;
    let coverage = answer.report.coverage();
    let mut scored: Vec<Scored> =
        hits.into_iter().zip(answer.scores).map(|(hit, score)| Scored { hit, score }).collect();
    // Best first; those without a score last, as they came.
    scored.sort_by(|a, b| match (a.score, b.score) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    Ok(Json(Ranking { hits: scored, coverage }))
}

/// The status that a failed ranking is answered with.
fn refuse(error: Error) -> (StatusCode, String) {
    let status = match error.kind() {
        ErrorKind::InvalidArgument | ErrorKind::TooLarge => StatusCode::BAD_REQUEST,
        ErrorKind::Overloaded | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Not `connect`: the service starts whether or not the fleet is there yet.
    let client = Client::builder().endpoints(std::env::args().skip(1)).build()?;
    let service = Router::new().route("/rerank", post(rerank)).with_state(client);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    axum::serve(listener, service).await?;
    Ok(())
}
