//! Every number of every case of the oracle's native folders, from one server:
//! as texts or pairs and as token ids, through each RPC that fits the head.

use crate::support::{
    Client,
    cases::{Case, TOLERANCE, cases, f32s, inputs, numbers, tokens_of, twice},
    close, failed, ids, serve, text,
};
use sortie_proto::v1::{self, Activation, ItemInfo, Truncation};

/// The folders whose architecture this engine computes itself.
const FOLDERS: [&str; 19] = [
    "bert-base",
    "bert-classify3",
    "bert-multilabel4",
    "bert-rerank",
    "bert-rerank-bf16",
    "bert-rerank-f16",
    "bert-rerank-relu",
    "bert-rerank-sharded",
    "bert-tokens5",
    "distilbert-base",
    "distilbert-classify3",
    "distilbert-rerank",
    "distilbert-tokens5",
    "electra-base",
    "electra-rerank",
    "roberta-base",
    "roberta-rerank",
    "xlm-roberta-base",
    "xlm-roberta-rerank",
];

/// The reference cuts pairs token by token from the longer side.
fn options() -> Option<v1::TextOptions> {
    Some(v1::TextOptions { truncation: Truncation::LongestFirst.into(), ..Default::default() })
}

#[track_caller]
fn whole(items: Option<ItemInfo>, cases: &[Case], what: &str) {
    assert_eq!(failed(&items), [], "{what}");
    assert_eq!(items.unwrap().tokens, tokens_of(cases), "{what}: tokens");
}

async fn embed(client: &mut Client, model: &str, cases: &[Case]) {
    for (pooling, key) in [(v1::Pooling::Cls, "cls"), (v1::Pooling::Mean, "mean")] {
        let request = v1::EmbedRequest {
            model: model.to_owned(),
            inputs: inputs(cases),
            options: options(),
            pooling: pooling.into(),
            normalize: Some(false),
            ..Default::default()
        };
        let answer = client.embed(request).await.unwrap().into_inner();
        let what = format!("{model}, {key}");
        close(&f32s(&answer.vectors), &twice(cases, key), TOLERANCE, &what);
        whole(answer.items, cases, &what);
    }
}

async fn classify(client: &mut Client, model: &str, cases: &[Case], labels: usize) {
    let request = v1::ClassifyRequest {
        model: model.to_owned(),
        inputs: inputs(cases),
        options: options(),
        activation: Activation::Raw.into(),
    };
    let answer = client.classify(request).await.unwrap().into_inner();
    assert_eq!(answer.labels.len(), labels, "{model}: {:?}", answer.labels);
    close(&answer.scores, &twice(cases, "logits"), TOLERANCE, model);
    whole(answer.items, cases, model);
}

/// The pieces of a text without special tokens, which is how Rerank takes ids.
async fn pieces(client: &mut Client, model: &str, input: &str) -> v1::Input {
    let request = v1::TokenizeRequest {
        model: model.to_owned(),
        inputs: vec![text(input)],
        without_special_tokens: true,
        ..Default::default()
    };
    let answer = client.tokenize(request).await.unwrap().into_inner();
    ids(&answer.inputs[0].ids, &[])
}

async fn rerank(client: &mut Client, model: &str, cases: &[Case]) {
    let pairs: Vec<_> = cases.iter().filter_map(|case| Some((case, case.pair.as_ref()?))).collect();
    assert!(!pairs.is_empty(), "{model}: no pairs");
    for (case, second) in pairs {
        let as_ids = (pieces(client, model, &case.text).await, pieces(client, model, second).await);
        for (query, document) in [(text(&case.text), text(second)), as_ids] {
            let request = v1::RerankRequest {
                model: model.to_owned(),
                query: Some(query),
                documents: vec![document],
                options: options(),
                activation: Activation::Raw.into(),
                ..Default::default()
            };
            let answer = client.rerank(request).await.unwrap().into_inner();
            let what = format!("{model}, reranking {:?}", case.text);
            close(&answer.scores, &numbers(&case.all["logits"]), TOLERANCE, &what);
            assert_eq!(
                (failed(&answer.items), answer.items.as_ref().unwrap().tokens[0] as usize),
                (vec![], case.ids.len())
            );
        }
    }
}

async fn tag(client: &mut Client, model: &str, cases: &[Case]) {
    let request = v1::TagTokensRequest {
        model: model.to_owned(),
        inputs: inputs(cases),
        options: options(),
        per_token_scores: true,
        activation: Activation::Raw.into(),
        ..Default::default()
    };
    let answer = client.tag_tokens(request).await.unwrap().into_inner();
    let scores: Vec<f32> = answer.texts.iter().flat_map(|t| t.token_scores.clone()).collect();
    close(&scores, &twice(cases, "logits"), TOLERANCE, model);
    whole(answer.items, cases, model);
}

#[tokio::test]
async fn one_server_gives_every_number_of_every_native_folder() {
    let (_server, mut client) = serve(&FOLDERS).await;
    let models = client.list_models(v1::ListModelsRequest {}).await.unwrap().into_inner().models;
    assert_eq!(models.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), FOLDERS);
    for model in models {
        assert_eq!(model.engine, "native", "{}", model.name);
        let cases = cases(&model.name);
        assert!(!cases.is_empty(), "{}: no cases", model.name);
        let client = &mut client;
        match model.task() {
            v1::Task::Embed => embed(client, &model.name, &cases).await,
            v1::Task::Classify if model.multi_label => classify(client, &model.name, &cases, 4).await,
            v1::Task::Classify => classify(client, &model.name, &cases, 3).await,
            v1::Task::Tag => tag(client, &model.name, &cases).await,
            v1::Task::Rerank => {
                classify(client, &model.name, &cases, 1).await;
                rerank(client, &model.name, &cases).await;
            }
            task => panic!("{}: {task:?}", model.name),
        }
    }
}
