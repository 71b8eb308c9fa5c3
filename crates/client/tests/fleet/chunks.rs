//! Jobs over several servers: what is sent where, and what comes back in which order.

use crate::common::{builder, connect, fleet};
use sortie_client::{ErrorKind, RevisionPolicy, Scoring, TokenIds};
use sortie_testkit::{Reply, TestServer, score_of, texts, tokens_of};

#[tokio::test]
async fn scores_come_back_in_request_order_from_every_server() {
    let servers = fleet(3).await;
    let client = connect(&servers).await;
    let documents = texts(1, 200);

    let answer = client.rerank("a query", &documents).top_n(5).await.unwrap();

    let want: Vec<_> = documents.iter().map(|text| Some(score_of(text))).collect();
    assert_eq!(answer.scores, want);
    assert_eq!(answer.scoring, Some(Scoring::CrossEncoder));
    let tokens: Vec<_> = documents.iter().map(|text| tokens_of(text)).collect();
    assert_eq!(answer.report.tokens, tokens);
    let mut best: Vec<_> = documents.iter().enumerate().map(|(index, text)| (score_of(text), index)).collect();
    best.sort_by(|a, b| b.0.total_cmp(&a.0));
    let ranking: Vec<_> = answer.ranking().iter().map(|ranked| (ranked.score, ranked.index)).collect();
    assert_eq!(ranking, best[..5]);

    // One chunk a server, of about equal work.
    let report = &answer.report;
    assert_eq!((report.chunks.len(), report.attempts), (3, 3));
    let mut endpoints: Vec<_> = report.chunks.iter().map(|chunk| chunk.endpoint.clone()).collect();
    endpoints.sort();
    let mut want: Vec<_> = servers.iter().map(TestServer::address).collect();
    want.sort();
    assert_eq!(endpoints, want);
    let most = report.chunks.iter().map(|chunk| chunk.tokens).max().unwrap() as f64;
    let mean = report.total_tokens() as f64 / 3.0;
    assert!(most / mean < 1.1, "{most} {mean}");
    assert_eq!(report.chunks.iter().map(|chunk| chunk.items).sum::<usize>(), 200);
    assert!(!report.mixed_revisions());

    // Every chunk told the same job.
    for server in &servers {
        let calls = server.calls();
        assert_eq!(calls.len(), 1);
        assert_eq!((calls[0].job_id.as_str(), calls[0].attempt.as_str()), (report.job_id.as_str(), "1"));
    }
}

#[tokio::test]
async fn a_client_that_never_connected_learns_before_its_first_job() {
    let servers = fleet(3).await;
    let client = builder(&servers).build().unwrap();
    // So few tokens that only a known cost makes them worth cutting.
    let answer = client.rerank("q", texts(2, 12)).await.unwrap();
    assert_eq!(answer.report.chunks.len(), 3);
    let stats = client.stats();
    assert_eq!(stats.endpoints.len(), 3);
    for endpoint in &stats.endpoints {
        assert_eq!((endpoint.ready, endpoint.in_flight_tokens), (true, 0));
        assert!((endpoint.models[0].b_us / 150.0 - 1.0).abs() < 0.05, "{endpoint:?}");
    }
}

#[tokio::test]
async fn every_kind_of_call_is_cut_and_put_together() {
    let servers = fleet(2).await;
    let client = connect(&servers).await;
    let inputs = texts(3, 60);
    let scores: Vec<_> = inputs.iter().map(|text| score_of(text)).collect();

    let embedded = client.embed(&inputs).await.unwrap();
    assert_eq!(embedded.dimensions, 2);
    assert!(embedded.vectors.iter().zip(&scores).all(|(row, &s)| row.as_deref() == Some(&[s, 1.0][..])));

    let sparse = client.embed_sparse(&inputs).await.unwrap();
    for (vector, &score) in sparse.vectors.iter().zip(&scores) {
        let vector = vector.as_ref().unwrap();
        assert_eq!((&vector.indices[..], &vector.weights[..]), (&[0, 1][..], &[score, score][..]));
    }

    let classified = client.classify(&inputs).await.unwrap();
    assert_eq!(classified.best(7), Some(("yes", scores[7])));
    assert_eq!(classified.labels, ["yes", "no"]);

    let tagged = client.tag(&inputs).per_token_scores(true).await.unwrap();
    for ((found, text), &score) in tagged.texts.iter().zip(&inputs).zip(&scores) {
        let found = found.as_ref().unwrap();
        assert_eq!((found.spans[0].range.clone(), found.spans[0].score), (0..text.len(), score));
        assert_eq!(found.token_scores.len(), tokens_of(text) as usize);
    }

    let similar = client.similarity("source", &inputs).await.unwrap();
    assert!(similar.scores.iter().zip(&scores).all(|(got, &want)| *got == Some(want)));

    let tokenized = client.tokenize(texts(4, 20_000)).await.unwrap();
    assert_eq!(tokenized.inputs.len(), 20_000);
    for (got, text) in tokenized.inputs.iter().zip(texts(4, 20_000)) {
        assert_eq!(got.as_ref().unwrap()[0].text, text);
    }

    let detokenized = client.detokenize((0..200).map(|n| TokenIds::new(vec![n; 500]))).await.unwrap();
    assert_eq!(detokenized.texts.iter().flatten().count(), 200);

    for server in &servers {
        let mut seen: Vec<_> = server.calls().iter().map(|call| call.rpc).collect();
        seen.dedup();
        assert_eq!(seen, ["Embed", "EmbedSparse", "Classify", "TagTokens", "Similarity", "Tokenize", "Detokenize"]);
    }
}

#[tokio::test]
async fn a_failed_item_keeps_its_place_and_its_reason() {
    let servers = fleet(3).await;
    let client = connect(&servers).await;
    let documents = texts(5, 90);
    for server in &servers {
        server.then(Reply::answer().item_error(2, "TEXT_TOO_LARGE", "too large"));
    }

    let answer = client.rerank("q", &documents).await.unwrap();

    let firsts = servers.iter().filter_map(|server| server.calls().into_iter().next());
    let places: Vec<usize> =
        firsts.map(|call| documents.iter().position(|text| *text == call.texts[2]).unwrap()).collect();
    assert!(places.iter().any(|&place| place != 2), "the place in a chunk is not the place in the job");
    for (index, score) in answer.scores.iter().enumerate() {
        assert_eq!(score.is_none(), places.contains(&index), "{index}");
    }
    for &place in &places {
        let error = answer.report.error(place).unwrap();
        assert_eq!((error.reason.as_str(), error.message.as_str()), ("TEXT_TOO_LARGE", "too large"));
    }
    assert_eq!(answer.report.errors.len(), places.len());
    assert_eq!(answer.report.tokens[places[0]], 0);
    assert_eq!(answer.ranking().len(), 90 - places.len());
}

#[tokio::test]
async fn an_item_larger_than_a_message_is_that_items_error() {
    let servers = fleet(2).await;
    let client = builder(&servers).max_message_bytes(100_000).connect().await.unwrap();
    let documents = ["small".to_owned(), "x".repeat(200_000), "tiny".to_owned()];
    let answer = client.rerank("q", &documents).await.unwrap();
    assert_eq!(answer.scores, [Some(score_of("small")), None, Some(score_of("tiny"))]);
    assert_eq!(answer.report.error(1).unwrap().reason, "TEXT_TOO_LARGE");

    let only = client.rerank("q", [&documents[1]]).await.unwrap();
    assert_eq!((only.scores, only.scoring), (vec![None], None));

    let error = client.rerank(documents[1].as_str(), ["d"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
}

#[tokio::test]
async fn more_items_than_a_request_holds_go_in_waves() {
    let servers = fleet(2).await;
    for server in &servers {
        let limit = |limits: &mut Option<sortie_testkit::proto::v1::Limits>| limits.as_mut().unwrap().max_items = 10;
        server.model(|model| limit(&mut model.limits)).load(|load| limit(&mut load.limits));
    }
    let client = connect(&servers).await;
    let documents = texts(6, 95);
    let answer = client.rerank("q", &documents).await.unwrap();
    let want: Vec<_> = documents.iter().map(|text| Some(score_of(text))).collect();
    assert_eq!(answer.scores, want);
    assert!(answer.report.chunks.len() >= 10);
    assert!(answer.report.chunks.iter().all(|chunk| chunk.items <= 10));
}

#[tokio::test]
async fn two_revisions_are_flagged_or_refused_never_silent() {
    let servers = fleet(2).await;
    let client = connect(&servers).await;
    servers[0].model(|model| model.revision = "r2".to_owned());

    let answer = client.rerank("q", texts(7, 50)).await.unwrap();
    assert!(answer.report.mixed_revisions());
    let mut revisions = answer.report.revisions.clone();
    revisions.sort();
    assert_eq!(revisions, ["r1", "r2"]);

    let error = client.rerank("q", texts(7, 50)).revisions(RevisionPolicy::Fail).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MixedRevisions);
    assert!(error.to_string().contains("r1") && error.to_string().contains("r2"), "{error}");
}

#[tokio::test]
async fn what_needs_no_server_is_refused_without_one() {
    let server = TestServer::start().await.unwrap();
    let client = connect(std::slice::from_ref(&server)).await;
    let table = [
        (client.rerank("q", Vec::<&str>::new()).await.unwrap_err(), "documents", "EMPTY_LIST"),
        (client.embed(Vec::<&str>::new()).await.unwrap_err(), "inputs", "EMPTY_LIST"),
        (client.similarity("s", Vec::<&str>::new()).await.unwrap_err(), "texts", "EMPTY_LIST"),
        (client.rerank("", ["d"]).await.unwrap_err(), "query", "EMPTY_QUERY"),
        (client.rerank("q", ["d"]).tenant("a\nb").await.unwrap_err(), "tenant", "BAD_METADATA"),
        (client.rerank("q", ["d"]).job_id("x".repeat(129)).await.unwrap_err(), "job_id", "BAD_METADATA"),
    ];
    for (error, field, reason) in table {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!((error.violations()[0].field.as_str(), error.reason()), (field, Some(reason)), "{error}");
    }
    assert!(server.calls().is_empty());
}
