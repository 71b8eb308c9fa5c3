//! The answers of each route.

use std::sync::Arc;

use axum::{body::Body, response::IntoResponse as _};
use http::Request;
use serde_json::{Value, json};
use sortie_http::HttpOptions;
use sortie_proto::v1::{EmbedRequest, RerankRequest, Role, Task, TruncationSide};

use crate::{
    app,
    fake::{Fake, model, sigmoid, vector},
    get, post, send, with_options,
};

fn row(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[tokio::test]
async fn tei_ranks_are_a_bare_list_best_first_ties_by_lower_index() {
    let app = app(&Fake::of(&[Task::Rerank]));
    let answer =
        post(&app, "/rerank", json!({"query": "q", "texts": ["d-1", "d3", "d3", "d0"], "return_text": true})).await;
    let expected = json!([
        {"index": 1, "text": "d3", "score": sigmoid(3.0)},
        {"index": 2, "text": "d3", "score": sigmoid(3.0)},
        {"index": 3, "text": "d0", "score": sigmoid(0.0)},
        {"index": 0, "text": "d-1", "score": sigmoid(-1.0)},
    ]);
    let found: Vec<(u64, &str)> = answer.body.as_array().unwrap().iter().map(entry).collect();
    let wanted: Vec<(u64, &str)> = expected.as_array().unwrap().iter().map(entry).collect();
    assert_eq!(found, wanted);
    assert_eq!(answer.body[0]["score"].as_f64().unwrap() as f32, sigmoid(3.0));
    let plain = post(&app, "/rerank", json!({"query": "q", "texts": ["d1"]})).await;
    assert!(plain.body[0].get("text").is_none());
}

fn entry(rank: &Value) -> (u64, &str) {
    (rank["index"].as_u64().unwrap(), rank["text"].as_str().unwrap())
}

#[tokio::test]
async fn numbers_are_written_in_their_shortest_form() {
    let app = app(&Fake::of(&[Task::Rerank]));
    let request = crate::post_request("/rerank", r#"{"query": "q", "texts": ["d0.1", "d1e-7"], "raw_scores": true}"#);
    let response = tower::ServiceExt::oneshot(app, request).await.unwrap();
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    assert_eq!(&bytes[..], br#"[{"index":0,"score":0.1},{"index":1,"score":1e-7}]"#);
}

#[tokio::test]
async fn one_answer_serves_readers_of_jina_vllm_and_cohere() {
    let app = app(&Fake::of(&[Task::Rerank]));
    let body = json!({"query": "q", "documents": ["d1", {"text": "d2"}], "top_n": 1});
    let answer = post(&app, "/v1/rerank", body.clone()).await;
    assert!(answer.body["id"].as_str().unwrap().starts_with("rerank-"));
    assert_eq!((&answer.body["object"], &answer.body["model"]), (&json!("list"), &json!("rerank")));
    assert_eq!(answer.body["results"].as_array().unwrap().len(), 1);
    assert_eq!(answer.body["results"][0]["index"], 1);
    assert_eq!(answer.body["results"][0]["document"], json!({"text": "d2"}));
    assert_eq!(answer.body["meta"]["billed_units"]["search_units"], 1);
    let second = post(&app, "/v2/rerank", body).await;
    assert!(second.body["results"][0].get("document").is_none());
    assert_eq!(second.body["meta"]["api_version"]["version"], "2");
    for top_n in [0, -1] {
        let all = post(&app, "/v1/rerank", json!({"query": "q", "documents": ["a", "b"], "top_n": top_n})).await;
        assert_eq!(all.body["results"].as_array().unwrap().len(), 2);
    }
    let one = post(&app, "/v1/rerank", json!({"query": "q", "documents": "alone", "return_documents": false})).await;
    assert!(one.body["results"][0].get("document").is_none());
}

#[tokio::test]
async fn limits_of_documents_are_exact_or_refused() {
    let fake = Fake::of(&[Task::Rerank, Task::Embed]);
    let app = app(&fake);
    let body = |field: &str, value: i64| json!({"model": "rerank", "query": "two words", "documents": ["a b c d"], field: value});
    // Two words, three special tokens and three of the document.
    assert_eq!(post(&app, "/v2/rerank", body("max_tokens_per_doc", 3)).await.header("x-sortie-truncated"), Some("0"));
    // More than the model reads limits nothing, and 0 neither.
    for (field, value) in [
        ("max_tokens_per_doc", 4_096),
        ("max_tokens_per_doc", 0),
        ("max_chunks_per_doc", 1),
        ("max_tokens_per_query", 2),
    ] {
        let answer = post(&app, "/v2/rerank", body(field, value)).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-sortie-truncated")), (200, None), "{field}");
    }
    let sent: Vec<RerankRequest> = fake.messages("Rerank").await;
    assert_eq!(
        sent.iter().map(|request| request.options.as_ref().unwrap().max_length).collect::<Vec<_>>(),
        [8, 0, 0, 0, 0]
    );
    let refused = post(&app, "/v2/rerank", body("max_tokens_per_query", 1)).await;
    assert!(refused.status == 400 && refused.body["message"].as_str().unwrap().contains("max_tokens_per_query"));
    let vectors = json!({"model": "embed", "query": "q", "documents": ["a"], "max_tokens_per_doc": 3});
    assert_eq!(post(&app, "/v2/rerank", vectors).await.status, 400);
    // Chunks are windows, of which all count or the request is refused.
    let long = "word ".repeat(100);
    let chunked = |most: i64| json!({"model": "rerank", "query": "q", "documents": [long], "max_chunks_per_doc": most});
    assert_eq!(post(&app, "/v1/rerank", chunked(10)).await.status, 200);
    assert!(fake.messages::<RerankRequest>("Rerank").await.last().unwrap().windows.is_some());
    let long = "word ".repeat(1_000);
    let chunked = |most: i64| json!({"model": "rerank", "query": "q", "documents": [long], "max_chunks_per_doc": most});
    let refused = post(&app, "/v1/rerank", chunked(10)).await;
    assert!(
        refused.status == 400 && refused.body["message"].as_str().unwrap().contains("max_chunks_per_doc"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn embeddings_are_rows_in_their_order() {
    let fake = Fake::of(&[Task::Embed]);
    let app = app(&fake);
    let tei = post(&app, "/embed", json!({"inputs": "a b"})).await;
    assert_eq!(row(&tei.body[0]), vector("a b", true, 0));
    let raw = post(&app, "/embed", json!({"inputs": ["a b", "c"], "normalize": false, "dimensions": 3})).await;
    assert_eq!(row(&raw.body[1]), vector("c", false, 3));
    let ids = post(&app, "/embed", json!({"inputs": [5, 6, 7]})).await;
    assert_eq!((ids.status.as_u16(), ids.header("x-compute-tokens")), (200, Some("5")));
    let too_many = post(&app, "/embed", json!({"inputs": "a", "dimensions": 9})).await;
    assert_eq!((too_many.status.as_u16(), &too_many.body["error_type"]), (422, &json!("Validation")));
    let all = post(&app, "/embed_all", json!({"inputs": ["a b"]})).await;
    assert_eq!(all.body[0].as_array().unwrap().len(), 4);
    let openai = post(&app, "/v1/embeddings", json!({"input": ["a b", "c"], "dimensions": 3})).await;
    assert_eq!(row(&openai.body["data"][1]["embedding"]), vector("c", true, 3));
    assert_eq!((&openai.body["object"], &openai.body["data"][1]["object"]), (&json!("list"), &json!("embedding")));
    let sent: Vec<EmbedRequest> = fake.messages("Embed").await;
    assert_eq!(sent[2].inputs.len(), 1);
}

#[tokio::test]
async fn long_ids_are_cut_as_texts_are() {
    let fake = Fake::of(&[Task::Embed]);
    let app = app(&fake);
    let ids: Vec<u32> = (0..100).collect();
    let cut = post(&app, "/embed", json!({"inputs": [ids], "truncation_direction": "Left"})).await;
    assert_eq!((cut.status.as_u16(), cut.header("x-sortie-truncated")), (200, Some("0")));
    let sent: EmbedRequest = fake.messages("Embed").await.remove(0);
    let Some(sortie_proto::v1::input::Kind::Tokens(tokens)) = sent.inputs[0].kind.clone() else { panic!("no ids") };
    let expected: Vec<u32> = [101].into_iter().chain(38..100).chain([102]).collect();
    assert_eq!(tokens.ids, expected);
    let whole = post(&app, "/embed", json!({"inputs": [ids], "truncate": false})).await;
    assert_eq!(whole.status, 422);
}

#[tokio::test]
async fn input_types_are_roles_else_prompts() {
    let mut with_roles = model("roles", Task::Embed);
    with_roles.roles = vec![Role::Query.into(), Role::Document.into()];
    let mut with_prompts = model("prompts", Task::Embed);
    with_prompts.prompts = vec![sortie_proto::v1::Prompt { name: "query".into(), text: "query: ".into() }];
    let fake = Fake { models: vec![with_prompts, with_roles], ..Fake::default() };
    let app = app(&fake);
    for name in ["roles", "prompts"] {
        for kind in ["search_query", "query", "passage"] {
            let body = json!({"input": "a", "model": name, "input_type": kind});
            assert_eq!(post(&app, "/v1/embeddings", body).await.status, 200);
        }
    }
    let sent: Vec<EmbedRequest> = fake.messages("Embed").await;
    let options: Vec<_> = sent.iter().map(|request| request.options.clone().unwrap()).collect();
    let roles: Vec<Role> = options[..3].iter().map(|options| options.role()).collect();
    assert_eq!(roles, [Role::Query, Role::Query, Role::Document]);
    let prompts: Vec<&str> = options[3..].iter().map(|options| options.prompt_name.as_str()).collect();
    assert_eq!(prompts, ["query", "query", ""]);
}

#[tokio::test]
async fn sparse_vectors_similarities_tokens_and_texts() {
    let app = app(&Fake::of(&[Task::EmbedSparse, Task::Embed]));
    let sparse = post(&app, "/embed_sparse", json!({"inputs": ["a b", ""]})).await;
    assert_eq!(sparse.body, json!([[{"index": 0, "value": 0.5}, {"index": 7, "value": 1.5}], []]));
    let body = json!({"inputs": {"source_sentence": "a", "sentences": ["a", "b"]}});
    let similar = post(&app, "/similarity", body.clone()).await;
    assert!((similar.body[0].as_f64().unwrap() - 1.0).abs() < 1e-6, "{similar:?}");
    let mut at_root = body;
    at_root["model"] = json!("embed");
    assert_eq!(post(&app, "/", at_root).await.body, similar.body);
    let tokens = post(&app, "/tokenize", json!({"inputs": "né b", "model": "embed"})).await;
    let expected = json!([[
        {"id": 101, "text": "[CLS]", "special": true, "start": null, "stop": null},
        {"id": 1003, "text": "né", "special": false, "start": 0, "stop": 3},
        {"id": 1001, "text": "b", "special": false, "start": 4, "stop": 5},
        {"id": 102, "text": "[SEP]", "special": true, "start": null, "stop": null},
    ]]);
    assert_eq!(tokens.body, expected);
    let bare = post(&app, "/tokenize", json!({"inputs": ["a"], "model": "embed", "add_special_tokens": false})).await;
    assert_eq!(bare.body[0].as_array().unwrap().len(), 1);
    let decoded = post(&app, "/decode", json!({"ids": [101, 7, 102], "model": "embed"})).await;
    assert_eq!(decoded.body, json!(["7"]));
    let decoded =
        post(&app, "/decode", json!({"ids": [[101, 7], [8]], "model": "embed", "skip_special_tokens": false})).await;
    assert_eq!(decoded.body, json!(["101 7", "8"]));
}

#[tokio::test]
async fn labels_come_likeliest_first() {
    let app = app(&Fake::of(&[Task::Classify]));
    let one = post(&app, "/predict", json!({"inputs": "x", "raw_scores": true})).await;
    let expected =
        json!([{"score": 3.0, "label": "joy"}, {"score": 2.0, "label": "anger"}, {"score": 1.0, "label": "calm"}]);
    assert_eq!(one.body, expected);
    let many = post(&app, "/predict", json!({"inputs": [["x"], ["x", "y"]]})).await;
    let sum: f64 = many.body[0].as_array().unwrap().iter().map(|label| label["score"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-6 && many.body.as_array().unwrap().len() == 2, "{many:?}");
    let vllm = post(&app, "/classify", json!({"input": ["x"], "use_activation": false})).await;
    assert_eq!(vllm.body["data"], json!([{"index": 0, "label": "joy", "probs": [2.0, 3.0, 1.0], "num_classes": 3}]));
    assert!(vllm.body["id"].as_str().unwrap().starts_with("classify-"));
}

#[tokio::test]
async fn scores_come_in_the_order_sent() {
    let app = app(&Fake::of(&[Task::Rerank]));
    let body = json!({"queries": "q", "documents": ["d1", "d3", "d2"], "use_activation": false});
    let answer = post(&app, "/score", body).await;
    let scores: Vec<f64> =
        answer.body["data"].as_array().unwrap().iter().map(|entry| entry["score"].as_f64().unwrap()).collect();
    assert_eq!(scores, [1.0, 3.0, 2.0]);
    let pairs = json!({"data_1": ["q", "r"], "data_2": ["d1", "d2"], "use_activation": false});
    let answer = post(&app, "/v1/score", pairs).await;
    assert_eq!((&answer.body["data"][1]["score"], &answer.body["data"][1]["object"]), (&json!(2.0), &json!("score")));
    for body in [
        json!({"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}),
        json!({"text_1": "a"}),
        json!({"text_1": "a", "queries": "b", "text_2": "c"}),
    ] {
        assert_eq!(post(&app, "/score", body).await.status, 400);
    }
}

#[tokio::test]
async fn cohere_embeds_into_the_types_that_are_asked_for() {
    let fake = Fake::of(&[Task::Embed]);
    let app = app(&fake);
    let types = json!(["float", "base64", "binary", "ubinary"]);
    let body = json!({"texts": ["a"], "model": "embed", "input_type": "search_document", "embedding_types": types, "truncate": "START"});
    let answer = post(&app, "/v2/embed", body).await;
    let embeddings = &answer.body["embeddings"];
    let expected = vector("a", true, 0);
    assert_eq!(row(&embeddings["float"][0]), expected);
    let bits = expected.iter().fold(0u8, |bits, x| bits << 1 | u8::from(*x > 0.0));
    assert_eq!((&embeddings["ubinary"], &embeddings["binary"]), (&json!([[bits]]), &json!([[i32::from(bits) - 128]])));
    assert_eq!((&answer.body["response_type"], &answer.body["texts"]), (&json!("embeddings_by_type"), &json!(["a"])));
    let first = post(&app, "/v1/embed", json!({"texts": ["a"], "model": "embed"})).await;
    assert_eq!(first.body["response_type"], "embeddings_floats");
    assert_eq!(row(&first.body["embeddings"][0]), expected);
    let sent: EmbedRequest = fake.messages("Embed").await.remove(0);
    assert_eq!(sent.options.unwrap().truncation_side(), TruncationSide::Left);
}

#[tokio::test]
async fn weaviate_joins_by_place() {
    let app = app(&Fake::of(&[Task::Rerank, Task::Embed]));
    let answer =
        post(&app, "/weaviate/rerank", json!({"query": "q", "documents": ["d-2", "d2"], "property": "x"})).await;
    let documents: Vec<_> = answer.body["scores"].as_array().unwrap().iter().map(|score| &score["document"]).collect();
    assert_eq!((documents, &answer.body["query"]), (vec![&json!("d-2"), &json!("d2")], &json!("q")));
    let many =
        post(&app, "/weaviate/vectors", json!({"texts": ["a", "b"], "config": {"pooling_strategy": "cls"}})).await;
    assert_eq!(many.status, 400);
    let many = post(&app, "/weaviate/vectors", json!({"texts": ["a", "b"], "config": {"dimensions": 2}})).await;
    assert_eq!((&many.body["dims"], many.body["vectors"].as_array().unwrap().len()), (&json!(2), 2));
    assert_eq!(get(&app, "/weaviate/.well-known/live").await.status, 204);
    assert_eq!(get(&app, "/weaviate/.well-known/ready").await.status, 204);
    assert!(get(&app, "/weaviate/meta").await.body.is_object());
}

#[tokio::test]
async fn the_model_decides_what_the_root_is() {
    let app = app(&Fake::of(&[Task::Rerank, Task::Classify, Task::Embed, Task::EmbedSparse]));
    for (model, body, probe) in [
        ("rerank", json!({"query": "q", "texts": ["a"]}), "/0/index"),
        ("classify", json!({"inputs": "a"}), "/0/label"),
        ("embed", json!({"inputs": "a"}), "/0/0"),
        ("embed_sparse", json!({"inputs": "a"}), "/0/0/value"),
    ] {
        let mut body = body;
        body["model"] = json!(model);
        for path in ["/", "/invocations"] {
            let answer = post(&app, path, body.clone()).await;
            assert!(answer.status == 200 && answer.body.pointer(probe).is_some(), "{model}: {answer:?}");
        }
        let vertex = post(&app, "/vertex", json!({"instances": [body, body]})).await;
        assert!(vertex.body.pointer(&format!("/predictions/1{probe}")).is_some(), "{vertex:?}");
    }
    let bad = json!({"instances": [{"model": "embed", "inputs": "a"}, {"model": "embed", "inputs": []}]});
    let answer = post(&app, "/vertex", bad).await;
    assert!(answer.status == 400 && answer.body["error"].as_str().unwrap().contains("instances[1]"), "{answer:?}");
}

#[tokio::test]
async fn models_and_their_aliases() {
    let mut options = HttpOptions::default();
    options.aliases.insert("text-embedding-3-small".to_owned(), "embed".to_owned());
    options.aliases.insert("lost".to_owned(), "nobody".to_owned());
    let fake = Fake { models: vec![model("org/embed", Task::Embed), model("embed", Task::Embed)], ..Fake::default() };
    let app = with_options(&fake, options);
    let list = get(&app, "/v1/models").await;
    let names: Vec<_> =
        list.body["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["org/embed", "embed", "text-embedding-3-small"]);
    assert_eq!(get(&app, "/v1/models/org/embed").await.body["id"], "org/embed");
    assert_eq!(get(&app, "/models/text-embedding-3-small").await.body["root"], "embed");
    assert_eq!(get(&app, "/v1/models/lost").await.body["error"]["code"], "model_not_found");
    let answer = post(&app, "/v1/embeddings", json!({"input": "a", "model": "text-embedding-3-small"})).await;
    assert_eq!(answer.body["model"], "embed");
    let unknown = post(&app, "/v1/embeddings", json!({"input": "a", "model": "lost"})).await;
    assert_eq!((unknown.status.as_u16(), &unknown.body["error"]["code"]), (404, &json!("model_not_found")));
    let unnamed = post(&app, "/v1/embeddings", json!({"input": "a"})).await;
    assert_eq!((unnamed.status.as_u16(), &unnamed.body["error"]["param"]), (400, &json!("model")));
    assert_eq!(get(&app, "/info?model=org%2Fembed").await.body["model_id"], "org/embed");
    let mut options = HttpOptions::default();
    options.default_model = Some("org/embed".to_owned());
    let answer = post(&with_options(&fake, options), "/v1/embeddings", json!({"input": "a"})).await;
    assert_eq!(answer.body["model"], "org/embed");
}

#[tokio::test]
async fn an_instruction_goes_to_models_that_read_one() {
    let mut reader = model("qwen", Task::Rerank);
    reader.architecture = "Qwen3ForCausalLM".to_owned();
    let fake = Fake { models: vec![reader], ..Fake::default() };
    let body = json!({"query": "q", "documents": ["a"], "instruction": "find code"});
    assert_eq!(post(&app(&fake), "/v1/rerank", body).await.status, 200);
    let sent: RerankRequest = fake.messages("Rerank").await.remove(0);
    assert_eq!(sent.options.unwrap().prompt, "find code");
}

#[tokio::test]
async fn health_and_the_page() {
    let fake = Fake::of(&[Task::Embed]);
    let mut options = HttpOptions::default();
    options.ready = Arc::new(|| false);
    options.page = Some(Arc::new(|_| "the page".into_response()));
    let app = with_options(&fake, options);
    let browser =
        Request::get("/").header("accept", "text/html,application/xhtml+xml;q=0.9").body(Body::empty()).unwrap();
    assert_eq!(send(&app, browser).await.body, "the page");
    for path in ["/", "/health", "/ping", "/weaviate/.well-known/ready"] {
        assert_eq!(get(&app, path).await.status, 503, "{path}");
    }
    assert_eq!(get(&app, "/health").await.body, json!({"error": "unhealthy", "error_type": "Unhealthy"}));
    let well = get(&crate::app(&fake), "/health").await;
    assert_eq!((well.status.as_u16(), &well.body), (200, &json!("")));
}
