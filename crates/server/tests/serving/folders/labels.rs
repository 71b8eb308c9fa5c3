//! Labels that come with the request, judged by the package `gliner`.

use serde_json::{Value, json};
use sortie_proto::v1::{self, Aggregation, Truncation};

use super::describe;
use crate::support::{
    Client, Running, bad, config, folder, pair, read_soon, refused, serve, serve_with, spec, text, with_frontend,
};

const MODEL: &str = "deberta-lstm";

async fn tagger() -> (Running, Client, Value) {
    let home = folder::archived("gliner").join(MODEL);
    let mut config = config(&[]);
    config.models.push(spec(MODEL, home.clone()));
    let expected = serde_json::from_slice(&std::fs::read(home.join("expected.json")).unwrap()).unwrap();
    let (server, client) = serve_with(config).await;
    (server, client, expected)
}

fn labels(list: &[&str]) -> Vec<String> {
    list.iter().map(|label| (*label).to_owned()).collect()
}

#[tokio::test]
async fn what_the_labels_of_a_request_name_is_found() {
    let (_server, mut client, expected) = tagger().await;
    let about = describe(&mut client, MODEL).await;
    assert!(about.labels_in_request && about.labels.is_empty() && about.rpcs.contains(&"TagTokens".to_owned()));
    assert_eq!((about.max_words, about.max_span_words, about.task()), (48, 4, v1::Task::Tag));
    let mut compared = 0;
    for case in expected["cases"].as_array().unwrap() {
        let names: Vec<String> = serde_json::from_value(case["labels"].clone()).unwrap();
        for answer in case["answers"].as_array().unwrap() {
            // With a batch-mate without a word.
            let request = v1::TagTokensRequest {
                inputs: vec![text(" "), text(case["text"].as_str().unwrap())],
                labels: names.clone(),
                threshold: Some(answer["threshold"].as_f64().unwrap() as f32),
                nested: answer["nested"].as_bool().unwrap(),
                multi_label: answer["multi_label"].as_bool().unwrap(),
                ..Default::default()
            };
            let got = client.tag_tokens(request).await.unwrap().into_inner();
            assert_eq!((&got.labels, got.texts[0].spans.len()), (&names, 0));
            let spans = &got.texts[1].spans;
            let want = answer["spans"].as_array().unwrap();
            assert_eq!(spans.len(), want.len());
            for (span, want) in spans.iter().zip(want) {
                let label = &names[want[2].as_u64().unwrap() as usize];
                assert_eq!(
                    (u64::from(span.start), u64::from(span.end)),
                    (want[0].as_u64().unwrap(), want[1].as_u64().unwrap())
                );
                assert!(span.label == *label && (f64::from(span.score) - want[3].as_f64().unwrap()).abs() < 1e-4);
                compared += 1;
            }
        }
    }
    assert!(compared > 500, "{compared}");
}

#[tokio::test]
async fn labels_are_wanted_by_a_model_without_its_own_and_by_no_other() {
    let (_server, mut client, _) = tagger().await;
    let good = || v1::TagTokensRequest { inputs: vec![text("ada")], labels: labels(&["person"]), ..Default::default() };
    let none = v1::TagTokensRequest { labels: Vec::new(), ..good() };
    refused(client.tag_tokens(none).await, bad("BAD_FIELD", "labels"), &["there are 0", "256"]);
    for (request, field) in [
        (v1::TagTokensRequest { aggregation: Aggregation::Words.into(), ..good() }, "aggregation"),
        (v1::TagTokensRequest { per_token_scores: true, ..good() }, "per_token_scores"),
        (v1::TagTokensRequest { activation: v1::Activation::Softmax.into(), ..good() }, "activation"),
        (v1::TagTokensRequest { ignore_labels: labels(&["O"]), ..good() }, "ignore_labels"),
        (v1::TagTokensRequest { threshold: Some(1.5), ..good() }, "threshold"),
        (v1::TagTokensRequest { threshold: Some(f32::NAN), ..good() }, "threshold"),
    ] {
        refused(client.tag_tokens(request).await, bad("BAD_FIELD", field), &[]);
    }
    let prompt = Some(v1::TextOptions { prompt: "find: ".to_owned(), ..Default::default() });
    refused(
        client.tag_tokens(v1::TagTokensRequest { options: prompt, ..good() }).await,
        bad("BAD_FIELD", "options.prompt"),
        &[],
    );
    let (_server, mut client) = serve(&["bert-tokens5"]).await;
    let own = || v1::TagTokensRequest { inputs: vec![text("w5")], ..Default::default() };
    for (request, field) in [
        (v1::TagTokensRequest { labels: labels(&["person"]), ..own() }, "labels"),
        (v1::TagTokensRequest { threshold: Some(0.5), ..own() }, "threshold"),
        (v1::TagTokensRequest { nested: true, ..own() }, "nested"),
        (v1::TagTokensRequest { multi_label: true, ..own() }, "multi_label"),
    ] {
        refused(client.tag_tokens(request).await, bad("BAD_FIELD", field), &["labels come with the request"]);
    }
}

#[tokio::test]
async fn a_text_that_is_not_read_whole_is_refused_unless_it_may_be_cut() {
    let (_server, mut client, _) = tagger().await;
    let ask = |truncation: Truncation| v1::TagTokensRequest {
        inputs: vec![text("paris ".repeat(60)), pair("ada", "paris"), text("ada")],
        labels: labels(&["place"]),
        options: Some(v1::TextOptions { truncation: truncation.into(), ..Default::default() }),
        ..Default::default()
    };
    let got = client.tag_tokens(ask(Truncation::Unspecified)).await.unwrap().into_inner().items.unwrap();
    let errors: Vec<_> = got.errors.iter().map(|e| (e.index, e.reason.as_str())).collect();
    assert_eq!(errors, [(0, "TOO_MANY_WORDS"), (1, "UNSUPPORTED_INPUT")]);
    let got = client.tag_tokens(ask(Truncation::DocumentOnly)).await.unwrap().into_inner().items.unwrap();
    assert_eq!((got.errors.len(), got.truncated), (1, vec![true, false, false]));
}

#[tokio::test]
async fn the_http_route_finds_what_the_rpc_finds() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("http");
    let mut config = with_frontend(&[], |f| {
        f.http = Some("127.0.0.1:0".parse().unwrap());
        f.http_addr_file = Some(file.clone());
    });
    config.models.push(spec(MODEL, folder::archived("gliner").join(MODEL)));
    let (_server, mut client) = serve_with(config).await;
    let asked = "ada lived in paris and london";
    let request = v1::TagTokensRequest {
        inputs: vec![text(asked)],
        labels: labels(&["person", "place"]),
        threshold: Some(0.1),
        nested: true,
        multi_label: true,
        ..Default::default()
    };
    let spans = client.tag_tokens(request).await.unwrap().into_inner().texts.remove(0).spans;
    let url = format!("http://{}/tag", read_soon(&file).await);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |body: Value| -> (u16, Value) {
        let request = http.post(&url).header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    };
    assert!(!spans.is_empty());
    let want: Vec<_> = spans.iter().map(|span| (span.label.as_str(), span.start.into(), span.end.into())).collect();
    let how = json!({"labels": ["person", "place"], "threshold": 0.1, "flat_ner": false, "multi_label": true});
    let (status, body) = post(json!({"inputs": asked, "parameters": how})).await;
    assert_eq!(status, 200, "{body}");
    let of = |span: &Value| (span["start"].as_u64().unwrap(), span["end"].as_u64().unwrap());
    let got: Vec<_> =
        body.as_array().unwrap().iter().map(|s| (s["entity_group"].as_str().unwrap(), of(s).0, of(s).1)).collect();
    assert_eq!(got, want);
    for (parameters, field) in [
        (json!({}), "parameters.labels"),
        (json!({"labels": ["person"], "threshold": 2}), "parameters.threshold"),
        (json!({"labels": ["person"], "aggregation_strategy": "first"}), "parameters.aggregation_strategy"),
        (json!({"labels": ["person"], "ignore_labels": ["O"]}), "parameters.ignore_labels"),
    ] {
        let (status, body) = post(json!({"inputs": asked, "parameters": parameters})).await;
        assert!((400..500).contains(&status) && body.to_string().contains(field), "{status} {body}");
    }
}
