use serde_json::json;
use sortie_proto::v1::{RerankRequest, Task, Truncation};

use crate::{
    app,
    fake::{Fake, sigmoid},
    post,
};

#[tokio::test]
async fn tei_reranks_texts_into_a_bare_list_best_first() {
    let fake = Fake::of(&[Task::Rerank]);
    let body = json!({"query": "what", "texts": ["d-1", "d3", "d3", "d0"]});
    let answer = post(&app(&fake), "/rerank", body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let indices: Vec<_> = answer.body.as_array().unwrap().iter().map(|rank| rank["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [1, 2, 3, 0]);
    assert_eq!(answer.body[0]["score"].as_f64().unwrap() as f32, sigmoid(3.0));
    assert_eq!(answer.body[0].as_object().unwrap().len(), 2, "no text unless it is asked for");
    let sent: RerankRequest = fake.messages("Rerank").await.remove(0);
    assert_eq!(sent.options.unwrap().truncation(), Truncation::LongestFirst);
}

#[tokio::test]
async fn openai_embeds_texts() {
    let fake = Fake::of(&[Task::Embed]);
    let answer = post(&app(&fake), "/v1/embeddings", json!({"input": ["a b", "c"], "model": "embed"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["usage"], json!({"prompt_tokens": 7, "total_tokens": 7}));
    assert_eq!(answer.body["data"][1]["index"], 1);
    assert_eq!(answer.body["data"][1]["embedding"].as_array().unwrap().len(), 8);
}
