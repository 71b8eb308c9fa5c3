//! Reranks the lines of standard input against a query.
//!
//! ```text
//! cargo run -p sortie-client --example rerank -- "a query" http://127.0.0.1:50051 < documents.txt
//! ```

use std::io::{BufRead as _, stdin};

use sortie_client::Client;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let query = args.next().ok_or("usage: rerank QUERY ENDPOINT...")?;
    let documents = stdin().lock().lines().collect::<Result<Vec<_>, _>>()?;

    let client = Client::builder().endpoints(args).connect().await?;
    let answer = client.rerank(query, &documents).top_n(10).await?;

    for best in answer.ranking() {
        println!("{:>8.3}  {}", best.score, documents[best.index]);
    }
    for chunk in &answer.report.chunks {
        println!("{}: {} documents, {} tokens, {:?}", chunk.endpoint, chunk.items, chunk.tokens, chunk.elapsed);
    }
    Ok(())
}
