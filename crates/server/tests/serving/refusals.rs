//! One test a row of `docs/errors.md`, whole requests: what the caller must
//! change. After each refusal the server still answers.

use crate::support::{
    Client, bad, config, ids, pair, plain, pushback, refused, report, serve, serve_with, text, unset,
};
use sortie_proto::v1::{self, Activation, Truncation};
use tonic::{Code, Request};

fn rerank(query: v1::Input, documents: Vec<v1::Input>) -> v1::RerankRequest {
    v1::RerankRequest { query: Some(query), documents, ..Default::default() }
}

fn embed(inputs: Vec<v1::Input>) -> v1::EmbedRequest {
    v1::EmbedRequest { inputs, ..Default::default() }
}

async fn still_serves(client: &mut Client) {
    client.probe(v1::ProbeRequest::default()).await.unwrap();
    let request = v1::TokenizeRequest { inputs: vec![text("w5")], ..Default::default() };
    assert_eq!(client.tokenize(request).await.unwrap().into_inner().inputs[0].ids, [2, 5, 3]);
}

#[tokio::test]
async fn empty_list() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let status =
        refused(client.rerank(rerank(text("q"), vec![])).await, bad("EMPTY_LIST", "documents"), &["documents"]);
    assert!(report(status.metadata()).is_some(), "refusals carry the load report too");
    let classify = v1::ClassifyRequest::default();
    refused(client.classify(classify).await, bad("EMPTY_LIST", "inputs"), &[]);
    refused(client.tokenize(v1::TokenizeRequest::default()).await, bad("EMPTY_LIST", "inputs"), &[]);
    still_serves(&mut client).await;
}

#[tokio::test]
async fn empty_query() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    for query in [text(""), ids(&[], &[]), unset()] {
        refused(client.rerank(rerank(query, vec![text("d")])).await, bad("EMPTY_QUERY", "query"), &["empty"]);
    }
    let none = v1::RerankRequest { documents: vec![text("d")], ..Default::default() };
    refused(client.rerank(none).await, bad("EMPTY_QUERY", "query"), &[]);
    still_serves(&mut client).await;
}

#[tokio::test]
async fn missing_input() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let request = rerank(text("q"), vec![text("d"), unset()]);
    refused(client.rerank(request).await, bad("MISSING_INPUT", "documents[1]"), &[]);
    let (_server, mut client) = serve(&["bert-base"]).await;
    let request = v1::SimilarityRequest { texts: vec![text("d")], ..Default::default() };
    refused(client.similarity(request).await, bad("MISSING_INPUT", "source"), &[]);
}

#[tokio::test]
async fn too_many_items() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let request = rerank(text("q"), vec![text("d"); 100_000]);
    refused(client.rerank(request).await, bad("TOO_MANY_ITEMS", "documents"), &["100000", "max_items is 10000"]);
    still_serves(&mut client).await;
}

#[tokio::test]
async fn message_too_large() {
    let mut config = config(&["bert-rerank"]);
    (config.frontend.max_message_bytes, config.max_text_bytes) = (100_000, 1_000);
    let (_server, mut client) = serve_with(config).await;
    let request = rerank(text("q"), vec![text("d".repeat(200_000))]);
    let want = plain(Code::OutOfRange, "MESSAGE_TOO_LARGE");
    let status = refused(client.rerank(request.clone()).await, want, &["max_message_bytes is 100000"]);
    assert_eq!(pushback(&status), Some(-1));
    still_serves(&mut client).await;
    // Small on the wire, too large once unpacked.
    let mut client = client.send_compressed(tonic::codec::CompressionEncoding::Gzip);
    refused(client.rerank(request).await, plain(Code::OutOfRange, "MESSAGE_TOO_LARGE"), &["100000"]);
    still_serves(&mut client).await;
}

#[tokio::test]
async fn answer_too_large() {
    let mut config = config(&["bert-base"]);
    (config.frontend.max_message_bytes, config.max_text_bytes) = (2_000, 1_000);
    let (_server, mut client) = serve_with(config).await;
    let want = plain(Code::InvalidArgument, "ANSWER_TOO_LARGE");
    // 64 numbers of 4 bytes each: known before anything runs.
    refused(client.embed(embed(vec![text("w5"); 10])).await, want, &["2560 bytes", "max_message_bytes is 2000"]);
    // A tokenized text is larger than the text: known only afterwards.
    let request = v1::TokenizeRequest { inputs: vec![text("w5 ".repeat(180)); 2], ..Default::default() };
    refused(client.tokenize(request).await, plain(Code::InvalidArgument, "ANSWER_TOO_LARGE"), &["max_message_bytes"]);
    still_serves(&mut client).await;
}

#[tokio::test]
async fn undecodable() {
    let (server, mut client) = serve(&["bert-rerank"]).await;
    let want = || plain(Code::InvalidArgument, "UNDECODABLE");
    // Field 1 (model) with a byte that is not UTF-8, then a field that ends too early.
    for bytes in [vec![0x0a, 1, 0xff], vec![0x0a, 50, b'x']] {
        let got = crate::support::raw::send(server.channel().await, "Rerank", bytes).await;
        refused(got, want(), &["decode"]);
    }
    // No message at all.
    let got = crate::support::raw::call(server.channel().await, "Rerank", futures::stream::iter([])).await;
    refused(got, want(), &[]);
    still_serves(&mut client).await;
}

#[tokio::test]
async fn bad_field() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let good = || rerank(text("w5"), vec![text("w6")]);
    let mut request = good();
    request.activation = 99;
    refused(client.rerank(request).await, bad("BAD_FIELD", "activation"), &["99"]);
    let mut request = good();
    request.activation = Activation::Softmax.into();
    refused(client.rerank(request).await, bad("BAD_FIELD", "activation"), &["always 1"]);
    let mut request = good();
    request.options = Some(v1::TextOptions { truncation: 99, ..Default::default() });
    refused(client.rerank(request).await, bad("BAD_FIELD", "options.truncation"), &["99"]);
    for query in [pair("a", "b"), ids(&[5], &[0]), ids(&[300], &[]), text("x".repeat((1 << 20) + 1))] {
        let request = rerank(query, vec![text("d")]);
        refused(client.rerank(request).await, bad("BAD_FIELD", "query"), &[]);
    }
    let mut request = rerank(ids(&[5], &[]), vec![text("d")]);
    request.options = Some(v1::TextOptions { prompt: "p".to_owned(), ..Default::default() });
    refused(client.rerank(request).await, bad("BAD_FIELD", "query"), &["prompt"]);

    let (_server, mut client) = serve(&["bert-base"]).await;
    let mut request = good();
    request.activation = Activation::Sigmoid.into();
    refused(client.rerank(request).await, bad("BAD_FIELD", "activation"), &["cosines"]);
    for (format, pooling, field) in [(9, 0, "format"), (0, 9, "pooling")] {
        let request = v1::EmbedRequest { format, pooling, ..embed(vec![text("x")]) };
        refused(client.embed(request).await, bad("BAD_FIELD", field), &["9"]);
    }
}

#[tokio::test]
async fn bad_metadata() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    for (key, value) in [("sortie-lane", "express"), ("sortie-attempt", "0"), ("sortie-attempt", "many")] {
        let mut request = Request::new(rerank(text("w5"), vec![text("w6")]));
        request.metadata_mut().insert(key, value.parse().unwrap());
        refused(client.rerank(request).await, plain(Code::InvalidArgument, "BAD_METADATA"), &[key, value]);
    }
}

#[tokio::test]
async fn query_too_long() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let long = || text("w5 ".repeat(400));
    refused(client.rerank(rerank(long(), vec![text("d")])).await, bad("QUERY_TOO_LONG", "query"), &["192"]);
    let (_server, mut client) = serve(&["bert-base"]).await;
    refused(client.rerank(rerank(long(), vec![text("d")])).await, bad("QUERY_TOO_LONG", "query"), &["192"]);
    let request = v1::SimilarityRequest { source: Some(long()), texts: vec![text("d")], ..Default::default() };
    refused(client.similarity(request).await, bad("QUERY_TOO_LONG", "source"), &["192"]);
}

#[tokio::test]
async fn bad_max_length() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    for max_length in [2, 193] {
        let options = Some(v1::TextOptions { max_length, ..Default::default() });
        let want = || bad("BAD_MAX_LENGTH", "options.max_length");
        let request = v1::RerankRequest { options: options.clone(), ..rerank(text("w5"), vec![text("w6")]) };
        refused(client.rerank(request).await, want(), &["192"]);
        let request = v1::ClassifyRequest { inputs: vec![text("w5")], options, ..Default::default() };
        refused(client.classify(request).await, want(), &["192"]);
    }
}

#[tokio::test]
async fn bad_dimensions() {
    let (_server, mut client) = serve(&["bert-base"]).await;
    let request = v1::EmbedRequest { dimensions: 65, ..embed(vec![text("w5")]) };
    refused(client.embed(request).await, bad("BAD_DIMENSIONS", "dimensions"), &["65", "64"]);
}

#[tokio::test]
async fn two_prompts() {
    let (_server, mut client) = serve(&["bert-base"]).await;
    let options = v1::TextOptions { prompt: "a".to_owned(), prompt_name: "b".to_owned(), ..Default::default() };
    let request = v1::EmbedRequest { options: Some(options), ..embed(vec![text("w5")]) };
    refused(client.embed(request).await, bad("TWO_PROMPTS", "options.prompt"), &[]);
}

#[tokio::test]
async fn unknown_prompt() {
    let (_server, mut client) = serve(&["bert-base"]).await;
    let options = v1::TextOptions { prompt_name: "passage".to_owned(), ..Default::default() };
    let request = v1::EmbedRequest { options: Some(options), ..embed(vec![text("w5")]) };
    refused(client.embed(request).await, bad("UNKNOWN_PROMPT", "options.prompt_name"), &["passage", "it has none"]);
}

#[tokio::test]
async fn unknown_model() {
    let (_server, mut client) = serve(&["bert-base", "bert-rerank"]).await;
    let want = || plain_with_field(Code::NotFound, "UNKNOWN_MODEL", "model");
    let request = v1::EmbedRequest { model: "nobody".to_owned(), ..embed(vec![text("w5")]) };
    let status = refused(client.embed(request).await, want(), &["nobody", "bert-base, bert-rerank"]);
    assert!(report(status.metadata()).unwrap().named_metrics.is_empty(), "no model, none of its figures");
    refused(client.probe(v1::ProbeRequest { model: "nobody".to_owned(), tokens: 0 }).await, want(), &[]);
    refused(client.get_model(v1::GetModelRequest { model: "nobody".to_owned() }).await, want(), &[]);
}

fn plain_with_field(code: Code, reason: &'static str, field: &'static str) -> crate::support::Refusal {
    crate::support::Refusal { code, reason, field: Some(field) }
}

#[tokio::test]
async fn model_not_named() {
    let (_server, mut client) = serve(&["bert-base", "bert-rerank"]).await;
    refused(client.embed(embed(vec![text("w5")])).await, bad("MODEL_NOT_NAMED", "model"), &["bert-base, bert-rerank"]);
}

#[tokio::test]
async fn wrong_task() {
    let models = ["bert-rerank", "bert-base", "bert-classify3", "bert-tokens5"];
    let (_server, mut client) = serve(&models).await;
    let inputs = || vec![text("w5")];
    for model in models {
        let name = model.to_owned();
        let want = || plain(Code::FailedPrecondition, "WRONG_TASK");
        if model != "bert-base" {
            let request = v1::EmbedRequest { model: name.clone(), ..embed(inputs()) };
            refused(client.embed(request).await, want(), &[model, "Embed"]);
            let request = v1::SimilarityRequest {
                model: name.clone(),
                source: Some(text("w5")),
                texts: inputs(),
                ..Default::default()
            };
            refused(client.similarity(request).await, want(), &["Similarity"]);
        }
        if model == "bert-classify3" || model == "bert-tokens5" {
            let request = v1::RerankRequest { model: name.clone(), ..rerank(text("w5"), inputs()) };
            refused(client.rerank(request).await, want(), &["Rerank", "labels"]);
        }
        if model == "bert-base" || model == "bert-tokens5" {
            let request = v1::ClassifyRequest { model: name.clone(), inputs: inputs(), ..Default::default() };
            refused(client.classify(request).await, want(), &["Classify"]);
        }
        if model != "bert-tokens5" {
            let request = v1::TagTokensRequest { model: name.clone(), inputs: inputs(), ..Default::default() };
            refused(client.tag_tokens(request).await, want(), &["TagTokens"]);
        }
        let request = v1::EmbedSparseRequest { model: name, inputs: inputs(), ..Default::default() };
        refused(client.embed_sparse(request).await, want(), &["EmbedSparse"]);
    }
}

#[tokio::test]
async fn chunk_too_large() {
    let mut config = config(&["bert-rerank"]);
    (config.max_batch_tokens, config.max_queue_tokens) = (256, 256);
    let (_server, mut client) = serve_with(config).await;
    let request = rerank(text("w5"), vec![text("w6 ".repeat(100)); 20]);
    let want = plain(Code::InvalidArgument, "CHUNK_TOO_LARGE");
    refused(client.rerank(request).await, want, &["max_queue_tokens is 256"]);
    client.rerank(rerank(text("w5"), vec![text("w6")])).await.unwrap();
}

#[tokio::test]
async fn unknown_rpc_of_the_service() {
    let (server, _client) = serve(&["bert-rerank"]).await;
    let status = crate::support::raw::send(server.channel().await, "Summarise", vec![]).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn truncation_off_does_not_touch_what_fits() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let options = Some(v1::TextOptions { truncation: Truncation::Error.into(), ..Default::default() });
    let request = v1::RerankRequest { options, ..rerank(text("w5"), vec![text("w6")]) };
    assert!(client.rerank(request).await.unwrap().into_inner().items.unwrap().errors.is_empty());
}
