//! Our own client in front of a gateway: it knows what it talks to.

use sortie_client::Client;
use sortie_testkit::texts;

use crate::support::{Running, config, fleet};

#[tokio::test]
async fn our_client_sends_a_gateway_whole_jobs_and_no_hedges_and_the_gateway_cuts_them() {
    let servers = fleet(4).await;
    let (first, _stub) = Running::ready(config(&servers)).await;
    let (second, _stub) = Running::ready(config(&servers)).await;
    let endpoints = [first.address, second.address].map(|address| format!("http://{address}"));
    let client = Client::builder().endpoints(endpoints).connect().await.unwrap();
    let documents = texts(1, 200);
    for _ in 0..3 {
        let before: usize = servers.iter().map(|server| server.calls().len()).sum();
        let answer = client.rerank("a query", &documents).await.unwrap();
        assert_eq!((answer.report.chunks.len(), answer.report.hedges), (1, 0));
        assert_eq!(answer.scores, documents.iter().map(|t| Some(sortie_testkit::score_of(t))).collect::<Vec<_>>());
        let after: usize = servers.iter().map(|server| server.calls().len()).sum();
        assert!(after - before > 1, "the gateway cut it");
    }
    let model = client.get_model().await.unwrap();
    assert!(model.limits.cuts_jobs);
    // The same servers, asked directly, get a job each.
    let direct = Client::builder().endpoints(servers.iter().map(|server| server.address())).connect().await.unwrap();
    assert!(direct.rerank("a query", &documents).await.unwrap().report.chunks.len() > 1);
}
