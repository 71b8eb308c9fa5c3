//! How texts are read: routes and prompts by role, the side that is cut, plain text.

use serde_json::{Value, json};
use sortie_proto::v1::{self, Role, TruncationSide};

use super::{describe, published, role, texts};
use crate::support::{
    bad,
    cases::{TOLERANCE, f32s},
    close, config, folder, pair, refused, serve, serve_with, spec, text,
};

#[tokio::test]
async fn a_routed_model_goes_the_way_of_the_role() {
    let (_server, mut client, [documents], folders) = published(["router"]).await;
    let queries: Value =
        serde_json::from_slice(&std::fs::read(folders[0].path().join("expected.query.json")).unwrap()).unwrap();
    for (asked, answer) in [(Role::Query, &queries), (Role::Document, &documents), (Role::Unspecified, &documents)] {
        let request =
            v1::EmbedSparseRequest { inputs: texts(&answer["texts"]), options: role(asked), ..Default::default() };
        let got = client.embed_sparse(request).await.unwrap().into_inner();
        for (place, want) in answer["vectors"].as_array().unwrap().iter().enumerate() {
            let row = got.offsets[place] as usize..got.offsets[place + 1] as usize;
            let mut want: Vec<(u32, f32)> = want
                .as_object()
                .unwrap()
                .iter()
                .map(|(id, weight)| (id.parse().unwrap(), weight.as_f64().unwrap() as f32))
                .collect();
            want.sort_by_key(|(id, _)| *id);
            let (ids, weights): (Vec<u32>, Vec<f32>) = want.into_iter().unzip();
            assert_eq!(&got.indices[row.clone()], ids, "{asked:?}");
            close(&got.weights[row], &weights, TOLERANCE, "weights");
        }
    }
    // Without a default route a text of no role has no way.
    let folder = &folders[0];
    let file = folder.path().join("router_config.json");
    let router =
        std::fs::read_to_string(&file).unwrap().replace("\"default_route\": \"document\"", "\"default_route\": null");
    std::fs::write(file, router.replace("\"allow_empty_key\": true", "\"allow_empty_key\": false")).unwrap();
    let mut config = config(&[]);
    config.models.push(spec("router", folder.path()));
    let (_server, mut client) = serve_with(config).await;
    let ask = |options| v1::EmbedSparseRequest { inputs: vec![text("w7")], options, ..Default::default() };
    refused(client.embed_sparse(ask(None)).await, bad("BAD_FIELD", "options.role"), &["query or document"]);
    let got = client.embed_sparse(ask(role(Role::Query))).await.unwrap().into_inner();
    assert_eq!((got.indices, got.weights), (vec![7], vec![1.0]));
}

#[tokio::test]
async fn the_prompt_of_a_role_goes_before_its_texts() {
    let (_dir, folder) = folder::copy("bert-base");
    let prompts = json!({"prompts": {"query": "w5 ", "document": "w6 "}, "default_prompt_name": null});
    std::fs::write(folder.join("config_sentence_transformers.json"), prompts.to_string()).unwrap();
    let mut config = config(&[]);
    config.models.push(spec("m", folder));
    let (_server, mut client) = serve_with(config).await;
    let mut embed = async |input: &str, asked: Role, prompt: &str| {
        let options = v1::TextOptions { role: asked.into(), prompt: prompt.to_owned(), ..Default::default() };
        let request = v1::EmbedRequest { inputs: vec![text(input)], options: Some(options), ..Default::default() };
        f32s(&client.embed(request).await.unwrap().into_inner().vectors)
    };
    let (query, document) = (embed("w5 w7", Role::Unspecified, "").await, embed("w6 w8", Role::Unspecified, "").await);
    assert_eq!(embed("w7", Role::Query, "").await, query);
    assert_eq!(embed("w8", Role::Document, "").await, document);
    assert_eq!(embed("w7", Role::Document, "w5 ").await, query, "a prompt that is asked for comes first");
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    // In Rerank the query is a query, and the documents documents, where the caller says so.
    let ask = |options| v1::RerankRequest {
        query: Some(text("w7")),
        documents: vec![text("w8")],
        options,
        ..Default::default()
    };
    let by_role = client.rerank(ask(role(Role::Query))).await.unwrap().into_inner();
    close(&by_role.scores, &[cosine(&query, &document)], TOLERANCE, "both prompts");
    let request = v1::SimilarityRequest {
        source: Some(text("w7")),
        texts: vec![text("w8")],
        options: role(Role::Query),
        ..Default::default()
    };
    close(&client.similarity(request).await.unwrap().into_inner().scores, &by_role.scores, TOLERANCE, "similarity");
    refused(client.rerank(ask(role(Role::Document))).await, bad("BAD_FIELD", "options.role"), &["document"]);
}

#[tokio::test]
async fn texts_are_cut_on_the_side_that_is_asked_for() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let mut read = async |side: TruncationSide| {
        let options = v1::TextOptions { max_length: 4, truncation_side: side.into(), ..Default::default() };
        let request =
            v1::TokenizeRequest { inputs: vec![text("w5 w6 w7 w8")], options: Some(options), ..Default::default() };
        client.tokenize(request).await.unwrap().into_inner().inputs.remove(0).tokens
    };
    assert_eq!(read(TruncationSide::Right).await, ["[CLS]", "w5", "w6", "[SEP]"]);
    assert_eq!(read(TruncationSide::Left).await, ["[CLS]", "w7", "w8", "[SEP]"]);
    assert_eq!(read(TruncationSide::Unspecified).await, ["[CLS]", "w5", "w6", "[SEP]"]);
    assert_eq!(describe(&mut client, "").await.truncation_side(), TruncationSide::Right);
}

#[tokio::test]
async fn a_plain_text_cannot_change_its_frame() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let mut read = async |plain_text: bool| {
        let options = v1::TextOptions { plain_text, ..Default::default() };
        let request = v1::TokenizeRequest {
            inputs: vec![text("w5 [SEP] w6"), pair("w5 [SEP]", "w6")],
            options: Some(options),
            ..Default::default()
        };
        let got = client.tokenize(request).await.unwrap().into_inner().inputs;
        got.iter().map(|one| one.tokens.iter().filter(|t| *t == "[SEP]").count()).collect::<Vec<_>>()
    };
    assert_eq!(read(false).await, [2, 3]);
    assert_eq!(read(true).await, [1, 2]);
}
