//! Tagging: what the fake finds, and `POST /tag` over it.

use serde_json::json;
use sortie_proto::v1::{Aggregation, ModelInfo, Span, TagTokensRequest, TagTokensResponse, TaggedText, Task};

use crate::{
    app,
    fake::{Fake, chunk, text_of},
    post,
};

/// Every word that begins with a capital letter is a NAME.
pub(crate) fn found(fake: &Fake, model: &ModelInfo, message: &TagTokensRequest) -> TagTokensResponse {
    let texts: Vec<(String, u32)> = message.inputs.iter().map(text_of).collect();
    let items = fake.items(&texts.iter().map(|(_, length)| *length).collect::<Vec<_>>(), &message.options);
    let ignored = |label: &str| message.ignore_labels.iter().any(|other| other == label);
    let spans = |(index, (text, _)): (usize, &(String, u32))| {
        let mut spans = Vec::new();
        for word in text.split(' ').filter(|word| word.starts_with(char::is_uppercase) && !ignored("NAME")) {
            let start = word.as_ptr() as usize - text.as_ptr() as usize;
            let score = if fake.failed(&items, index) { f32::NAN } else { 0.5 };
            let (start, end) = (start as u32, (start + word.len()) as u32);
            spans.push(Span { label: "NAME".to_owned(), start, end, score });
        }
        TaggedText { spans, token_scores: Vec::new() }
    };
    let texts = texts.iter().enumerate().map(spans).collect();
    let chunk = chunk(model, &items);
    TagTokensResponse { texts, labels: vec!["NAME".to_owned()], items: Some(items), chunk }
}

#[tokio::test]
async fn stretches_are_told_as_the_hub_does() {
    let fake = Fake::of(&[Task::Tag]);
    let app = app(&fake);
    let ada = json!({"entity_group": "NAME", "score": 0.5, "word": "Ada", "start": 2, "end": 5});
    for path in ["/tag", "/v1/tag", "/"] {
        assert_eq!(post(&app, path, json!({"inputs": "é Ada"})).await.body, json!([ada]), "{path}");
    }
    let many = post(&app, "/tag", json!({"inputs": ["é Ada", "nobody"]})).await;
    assert_eq!(many.body, json!([[ada], []]));
    let single = json!({"inputs": "Ada", "parameters": {"aggregation_strategy": "none"}});
    let single = post(&app, "/tag", single).await;
    assert_eq!(single.body, json!([{"entity": "NAME", "score": 0.5, "word": "Ada", "start": 0, "end": 3}]));
    let ignored = json!({"inputs": "Ada", "parameters": {"ignore_labels": ["NAME"], "stride": 0}});
    assert_eq!(post(&app, "/tag", ignored).await.body, json!([]));
    let sent: Vec<TagTokensRequest> = fake.messages("TagTokens").await;
    assert_eq!((sent[0].aggregation(), sent[4].aggregation()), (Aggregation::Words, Aggregation::None));
}

#[tokio::test]
async fn labels_of_the_request_travel_as_they_are() {
    let mut fake = Fake::of(&[Task::Tag]);
    fake.models[0].labels_in_request = true;
    let app = app(&fake);
    let parameters = json!({"labels": ["person"], "threshold": 0.25, "flat_ner": false, "multi_label": true});
    for parameters in [parameters, json!({"candidate_labels": ["person"], "flat_ner": null, "multi_label": null})] {
        let answer = post(&app, "/tag", json!({"inputs": "Ada", "parameters": parameters})).await;
        assert_eq!(answer.body[0]["entity_group"], "NAME", "{answer:?}");
    }
    let plain = json!({"inputs": "Ada", "parameters": {"labels": ["person"], "aggregation_strategy": "none"}});
    post(&app, "/tag", plain).await;
    let sent: Vec<TagTokensRequest> = fake.messages("TagTokens").await;
    let of = |sent: &TagTokensRequest| (sent.aggregation(), sent.threshold, sent.nested, sent.multi_label);
    assert!(sent.iter().all(|sent| sent.labels == ["person"]));
    assert_eq!(of(&sent[0]), (Aggregation::Unspecified, Some(0.25), true, true));
    assert_eq!(of(&sent[1]), (Aggregation::Unspecified, None, false, false));
    assert_eq!(of(&sent[2]), (Aggregation::None, None, false, false), "said, so that the model can refuse it");
}

#[tokio::test]
async fn what_is_not_served_is_refused_by_name() {
    let fake = Fake { not_numbers: vec![1], ..Fake::of(&[Task::Tag]) };
    let app = app(&fake);
    for (body, status, word) in [
        (json!({"inputs": "a", "parameters": {"stride": 8}}), 422, "stride"),
        (json!({"inputs": "a", "parameters": {"aggregation_strategy": "mean"}}), 422, "aggregation_strategy"),
        (json!({"inputs": []}), 400, "inputs"),
        (json!({}), 422, "inputs"),
        (json!({"inputs": ["Ada", "Ada"]}), 424, "inputs[1]"),
    ] {
        let answer = post(&app, "/tag", body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.to_string().contains(word), "{answer:?}");
    }
}
