//! Heads that give scores: cross-encoders of modules, two labels, activations, regression, tags.

use serde_json::{Value, json};
use sortie_proto::v1::{self, Activation, Aggregation, Scoring};
use tonic::Code;

use super::{describe, published, texts};
use crate::support::{
    Refusal,
    cases::{TOLERANCE, cases, numbers},
    close, config, folder, plain, refused, serve_with, spec, text,
};

#[tokio::test]
async fn two_labels_rerank_by_the_difference_of_their_logits() {
    let (_dir, folder) = folder::copy("bert-classify3");
    folder::edit_config(&folder, |c| {
        c["id2label"] = json!({"0": "no", "1": "yes"});
        c["label2id"] = json!({"no": 0, "yes": 1});
    });
    folder::edit_tensors(&folder, |tensors| {
        for (shape, numbers) in ["classifier.weight", "classifier.bias"].map(|n| tensors[n].clone()).iter() {
            assert_eq!(shape[0] % 3 + numbers.len() % 3, 0);
        }
        for name in ["classifier.weight", "classifier.bias"] {
            let (shape, numbers) = tensors.get_mut(name).unwrap();
            numbers.truncate(numbers.len() / 3 * 2);
            shape[0] = 2;
        }
    });
    let mut config = config(&[]);
    config.models.push(spec("two", folder));
    let (_server, mut client) = serve_with(config).await;
    let pairs: Vec<_> = cases("bert-classify3").into_iter().filter(|case| case.pair.is_some()).collect();
    assert!(!pairs.is_empty());
    for case in &pairs {
        let logits = numbers(&case.all["logits"]);
        let difference = logits[1] - logits[0];
        let ask = |activation: Activation| v1::RerankRequest {
            query: Some(text(&case.text)),
            documents: vec![text(case.pair.as_ref().unwrap())],
            options: Some(v1::TextOptions { truncation: v1::Truncation::LongestFirst.into(), ..Default::default() }),
            activation: activation.into(),
            ..Default::default()
        };
        let raw = client.rerank(ask(Activation::Unspecified)).await.unwrap().into_inner();
        close(&raw.scores, &[difference], TOLERANCE, &case.text);
        assert_eq!(raw.scoring(), Scoring::LogitDifference);
        let sigmoid = client.rerank(ask(Activation::Sigmoid)).await.unwrap().into_inner();
        close(&sigmoid.scores, &[1.0 / (1.0 + (-difference).exp())], TOLERANCE, "sigmoid");
    }
    assert!(describe(&mut client, "two").await.rpcs.contains(&"Rerank".to_owned()));
}

#[tokio::test]
async fn cross_encoders_of_modules_give_raw_scores_and_the_folders_own() {
    let names = ["bert-ce-modular", "ce-dense"];
    let (_server, mut client, answers, _folders) = published(names).await;
    for (name, answer) in names.iter().zip(&answers) {
        for (activation, key) in [(Activation::Unspecified, "raw"), (Activation::Model, "default")] {
            let request = v1::RerankRequest {
                model: (*name).to_owned(),
                query: Some(text(answer["query"].as_str().unwrap())),
                documents: texts(&answer["documents"]),
                activation: activation.into(),
                ..Default::default()
            };
            let got = client.rerank(request).await.unwrap().into_inner();
            close(&got.scores, &numbers(&answer[key]), TOLERANCE, name);
            assert_eq!(got.scoring(), Scoring::CrossEncoder);
        }
        let about = describe(&mut client, name).await;
        assert_eq!(about.model_activation(), Activation::Sigmoid, "{}", about.model_activation_source);
    }
}

#[tokio::test]
async fn an_activation_of_the_folder_that_is_not_served_is_refused_by_name() {
    let (_dir, folder) = folder::copy("bert-rerank");
    folder::edit_config(&folder, |c| {
        c["sentence_transformers"] = json!({"activation_fn": "torch.nn.modules.activation.Softsign"});
    });
    let mut config = config(&["bert-tokens5"]);
    config.models.push(spec("odd", folder));
    let (_server, mut client) = serve_with(config).await;
    let request = v1::RerankRequest {
        model: "odd".to_owned(),
        query: Some(text("w5")),
        documents: vec![text("w6")],
        activation: Activation::Model.into(),
        ..Default::default()
    };
    let want = || Refusal { field: Some("activation"), ..plain(Code::FailedPrecondition, "NO_MODEL_ACTIVATION") };
    refused(client.rerank(request).await, want(), &["Softsign"]);
    assert_eq!(describe(&mut client, "odd").await.model_activation(), Activation::Unspecified);
    let request = v1::TagTokensRequest {
        model: "bert-tokens5".to_owned(),
        inputs: vec![text("w5")],
        activation: Activation::Model.into(),
        ..Default::default()
    };
    refused(client.tag_tokens(request).await, want(), &["names none"]);
}

#[tokio::test]
async fn regression_heads_are_raw_by_default() {
    let (_server, mut client, [answer], _folders) = published(["regression"]).await;
    let request = v1::ClassifyRequest { inputs: texts(&answer["texts"]), ..Default::default() };
    let got = client.classify(request).await.unwrap().into_inner();
    let row = |labels: &Value| -> Vec<f32> {
        let score = |name: &String| {
            let named = labels.as_array().unwrap().iter().find(|l| l["label"] == name.as_str()).unwrap();
            named["score"].as_f64().unwrap() as f32
        };
        got.labels.iter().map(score).collect()
    };
    let want: Vec<f32> = answer["scores"].as_array().unwrap().iter().flat_map(row).collect();
    close(&got.scores, &want, TOLERANCE, "scores");
    assert_eq!(got.activation(), Activation::Raw);
    assert_eq!(describe(&mut client, "").await.problem_type, "regression");
}

/// Byte offset of a place that is counted in characters.
fn bytes(text: &str, characters: usize) -> u32 {
    text.chars().take(characters).map(|c| c.len_utf8() as u32).sum()
}

#[tokio::test]
async fn tags_are_joined_as_the_pipeline_joins_them_and_as_we_do() {
    let (_server, mut client, [answer], _folders) = published(["xlmr-ner"]).await;
    let inputs: Vec<&str> = answer["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    let ask = |aggregation: Aggregation| v1::TagTokensRequest {
        inputs: inputs.iter().map(|t| text(*t)).collect(),
        aggregation: aggregation.into(),
        ..Default::default()
    };
    let strategies = [
        (Aggregation::None, "none"),
        (Aggregation::Simple, "simple"),
        (Aggregation::First, "first"),
        (Aggregation::Average, "average"),
        (Aggregation::Max, "max"),
    ];
    for (aggregation, key) in strategies {
        let got = client.tag_tokens(ask(aggregation)).await.unwrap().into_inner();
        for ((input, got), want) in inputs.iter().zip(&got.texts).zip(answer["aggregation"][key].as_array().unwrap()) {
            let spans: Vec<_> = got.spans.iter().map(|s| (s.label.as_str(), s.start, s.end)).collect();
            let place = |span: &Value, key: &str| bytes(input, span[key].as_u64().unwrap() as usize);
            let expected: Vec<_> = want
                .as_array()
                .unwrap()
                .iter()
                .map(|span| (span["label"].as_str().unwrap(), place(span, "start"), place(span, "end")))
                .collect();
            assert_eq!(spans, expected, "{key} of {input}");
            let scores: Vec<f32> = got.spans.iter().map(|s| s.score).collect();
            let expected: Vec<f32> =
                want.as_array().unwrap().iter().map(|span| span["score"].as_f64().unwrap() as f32).collect();
            close(&scores, &expected, TOLERANCE, key);
        }
    }
    // Neither punctuation nor a Japanese sentence is joined by default.
    for aggregation in [Aggregation::Unspecified, Aggregation::Words] {
        let got = client.tag_tokens(ask(aggregation)).await.unwrap().into_inner();
        let found: Vec<Vec<&str>> = inputs
            .iter()
            .zip(&got.texts)
            .map(|(input, got)| got.spans.iter().map(|s| &input[s.start as usize..s.end as usize]).collect())
            .collect();
        assert_eq!(found, [vec!["Obama", "Paris", "London", "Berlin"], vec!["山田太郎", "東京"]]);
    }
}
