//! One test a row of `docs/errors.md`, single items: the bad one has its reason
//! and NaN, its siblings have what they would have had without it.

use crate::support::{Client, config, failed, folder, ids, pair, serve, serve_with, spec, text};
use sortie_proto::v1::{self, Truncation, VectorFormat};

/// Reranks `bad` between two good documents; gives its reason and sentence.
async fn beside_good(client: &mut Client, bad: v1::Input, options: v1::TextOptions) -> (String, String) {
    let request = |documents| v1::RerankRequest {
        query: Some(text("w5")),
        documents,
        options: Some(options.clone()),
        top_n: 9,
        ..Default::default()
    };
    let good = client.rerank(request(vec![text("w6"), text("w7")])).await.unwrap().into_inner().scores;
    let answer = client.rerank(request(vec![text("w6"), bad, text("w7")])).await.unwrap().into_inner();
    assert!(answer.scores[1].is_nan());
    crate::support::close(&[answer.scores[0], answer.scores[2]], &good, 1e-5, "siblings");
    assert!(answer.order.len() == 2 && !answer.order.contains(&1), "{:?}", answer.order);
    let items = answer.items.unwrap();
    assert_eq!((items.tokens[1], items.errors.len(), items.errors[0].index), (0, 1, 1));
    (items.errors[0].reason.clone(), items.errors[0].message.clone())
}

fn no_cut() -> v1::TextOptions {
    v1::TextOptions { truncation: Truncation::Error.into(), ..Default::default() }
}

#[tokio::test]
async fn text_too_large() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let huge = text("w6 ".repeat(50_000_000 / 3));
    let (reason, message) = beside_good(&mut client, huge, v1::TextOptions::default()).await;
    assert_eq!(reason, "TEXT_TOO_LARGE");
    assert!(message.contains("max_text_bytes is 1048576"), "{message}");
}

#[tokio::test]
async fn too_long() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let (reason, message) = beside_good(&mut client, text("w6 ".repeat(300)), no_cut()).await;
    assert_eq!(reason, "TOO_LONG");
    assert!(message.contains("192"), "{message}");
    let request = v1::ClassifyRequest { inputs: vec![ids(&[5; 193], &[]), text("w5")], ..Default::default() };
    assert_eq!(failed(&client.classify(request).await.unwrap().into_inner().items), [(0, "TOO_LONG")]);
}

#[tokio::test]
async fn query_too_long_in_a_pair() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let request = v1::ClassifyRequest { inputs: vec![text("w5"), pair("w5 ".repeat(300), "w6")], ..Default::default() };
    let answer = client.classify(request).await.unwrap().into_inner();
    assert_eq!(failed(&answer.items), [(1, "QUERY_TOO_LONG")]);
    assert!(answer.scores[0].is_finite() && answer.scores[1].is_nan());
}

#[tokio::test]
async fn bad_token_id() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let (reason, message) = beside_good(&mut client, ids(&[5, 300], &[]), v1::TextOptions::default()).await;
    assert_eq!(reason, "BAD_TOKEN_ID");
    assert!(message.contains("300"), "{message}");
}

#[tokio::test]
async fn bad_token_ids() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let inputs = vec![ids(&[], &[]), ids(&[2, 5, 3], &[0]), ids(&[2, 5, 3], &[0, 0, 7]), ids(&[2, 5, 3], &[0, 0, 1])];
    let request = v1::ClassifyRequest { inputs, ..Default::default() };
    let answer = client.classify(request).await.unwrap().into_inner();
    assert_eq!(failed(&answer.items), [(0, "BAD_TOKEN_IDS"), (1, "BAD_TOKEN_IDS"), (2, "BAD_TOKEN_IDS")]);
    assert!(answer.scores[3].is_finite());
}

#[tokio::test]
async fn unsupported_input() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    for input in [pair("w6", "w7"), ids(&[6], &[0])] {
        let (reason, _) = beside_good(&mut client, input, v1::TextOptions::default()).await;
        assert_eq!(reason, "UNSUPPORTED_INPUT");
    }
    let (_cosine, mut other) = serve(&["bert-base"]).await;
    assert_eq!(beside_good(&mut other, pair("w6", "w7"), v1::TextOptions::default()).await.0, "UNSUPPORTED_INPUT");
    let request = v1::TokenizeRequest { inputs: vec![ids(&[5], &[]), text("w5")], ..Default::default() };
    let answer = client.tokenize(request).await.unwrap().into_inner();
    assert_eq!(failed(&answer.items), [(0, "UNSUPPORTED_INPUT")]);
    assert_eq!((answer.inputs[0].ids.len(), answer.inputs[1].ids.len()), (0, 3));
    let options = v1::TextOptions { prompt: "w5 ".to_owned(), ..Default::default() };
    let request = v1::ClassifyRequest {
        inputs: vec![ids(&[2, 5, 3], &[]), text("w5")],
        options: Some(options),
        ..Default::default()
    };
    assert_eq!(failed(&client.classify(request).await.unwrap().into_inner().items), [(0, "UNSUPPORTED_INPUT")]);
}

/// The tiny embedder with states `factor` times as large.
async fn scaled(factor: f32) -> (tempfile::TempDir, crate::support::Running, Client) {
    let (dir, folder) = folder::copy("bert-base");
    folder::edit_tensors(&folder, |tensors| {
        for chunk in ["weight", "bias"] {
            let name = format!("encoder.layer.1.output.LayerNorm.{chunk}");
            tensors.get_mut(&name).unwrap().1.iter_mut().for_each(|x| *x *= factor);
        }
    });
    let mut config = config(&[]);
    config.models.push(spec("m", folder));
    let (server, client) = serve_with(config).await;
    (dir, server, client)
}

#[tokio::test]
async fn non_finite_output() {
    let (_dir, _server, mut client) = scaled(1.5e38).await;
    let request = v1::EmbedRequest { inputs: vec![text("w5"), ids(&[400], &[])], ..Default::default() };
    let answer = client.embed(request).await.unwrap().into_inner();
    assert_eq!(failed(&answer.items), [(0, "NON_FINITE_OUTPUT"), (1, "BAD_TOKEN_ID")]);
    assert_eq!(answer.vectors.len(), 2 * 64 * 4);
    assert!(answer.vectors.chunks(4).all(|b| f32::from_le_bytes(b.try_into().unwrap()).is_nan()));
}

#[tokio::test]
async fn numbers_that_do_not_fit_f16() {
    let (_dir, _server, mut client) = scaled(1e6).await;
    let ask = |format: VectorFormat| v1::EmbedRequest {
        inputs: vec![text("w5")],
        format: format.into(),
        ..Default::default()
    };
    let answer = client.embed(ask(VectorFormat::F16)).await.unwrap().into_inner();
    assert_eq!(failed(&answer.items), [(0, "NON_FINITE_OUTPUT")]);
    assert!(answer.items.unwrap().errors[0].message.contains("ask for f32"));
    assert!(answer.vectors.chunks(2).all(|b| half::f16::from_le_bytes(b.try_into().unwrap()).is_nan()));
    let answer = client.embed(ask(VectorFormat::F32)).await.unwrap().into_inner();
    assert_eq!(failed(&answer.items), []);
}

#[tokio::test]
async fn when_every_item_is_bad_the_request_still_succeeds() {
    let (_server, mut client) = serve(&["bert-base"]).await;
    let request =
        v1::SimilarityRequest { source: Some(text("w5")), texts: vec![ids(&[400], &[]); 2], ..Default::default() };
    let answer = client.similarity(request).await.unwrap().into_inner();
    assert_eq!(failed(&answer.items), [(0, "BAD_TOKEN_ID"), (1, "BAD_TOKEN_ID")]);
    let request = v1::EmbedRequest { inputs: vec![ids(&[400], &[])], ..Default::default() };
    let answer = client.embed(request).await.unwrap().into_inner();
    assert_eq!(failed(&answer.items), [(0, "BAD_TOKEN_ID")]);
    assert!(answer.chunk.unwrap().batch_ms.is_empty(), "nothing ran");
}
