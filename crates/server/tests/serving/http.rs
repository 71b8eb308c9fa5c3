//! The HTTP port of a server: the dialects over its own models, behind its own keys.

use serde_json::{Value, json};
use sortie_proto::v1;

use crate::support::{Running, text, with_frontend};

#[tokio::test]
async fn an_http_port_answers_with_the_numbers_of_grpc_and_asks_for_the_same_keys() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, file) = (dir.path().join("keys"), dir.path().join("http"));
    std::fs::write(&keys, "team-a:0123456789abcdef\n").unwrap();
    let config = with_frontend(&["bert-base"], |f| {
        f.http = Some("127.0.0.1:0".parse().unwrap());
        f.http_addr_file = Some(file.clone());
        f.http_alias = vec!["text-embedding-3-small=bert-base".to_owned()];
        f.api_keys = Some(keys);
    });
    let server = Running::start(config).await;
    let mut request = tonic::Request::new(v1::EmbedRequest {
        inputs: vec![text("a text")],
        normalize: Some(true),
        ..v1::EmbedRequest::default()
    });
    request.metadata_mut().insert("authorization", "Bearer 0123456789abcdef".parse().unwrap());
    let bytes = server.client().await.embed(request).await.unwrap().into_inner().vectors;
    let want: Vec<f32> = bytes.chunks(4).map(|number| f32::from_le_bytes(number.try_into().unwrap())).collect();

    let address = std::fs::read_to_string(&file).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = |key: &'static str| {
        let body = json!({ "model": "text-embedding-3-small", "input": "a text", "encoding_format": "float" });
        let request = http.post(format!("http://{}/v1/embeddings", address.trim())).bearer_auth(key);
        request.header("content-type", "application/json").body(body.to_string()).send()
    };
    assert_eq!(post("not-a-key-that-is-known").await.unwrap().status().as_u16(), 401);
    let answer = post("0123456789abcdef").await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let got: Vec<f32> =
        answer["data"][0]["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
    assert_eq!(got, want);
}
