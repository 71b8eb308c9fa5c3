//! Late interaction: token vectors in every format, Rerank by their similarity, vectors that a caller kept.

use futures::{StreamExt as _, stream};
use sortie_proto::v1::{self, Role, Scoring};
use tonic::Code;

use super::{describe, published, role, texts};
use crate::support::{
    Refusal, bad,
    cases::{TOLERANCE, cases, f32s, numbers},
    close, config, failed,
    folder::assemble,
    plain, pushback, refused, serve, serve_with, spec, text,
};

#[tokio::test]
async fn late_interaction_models_rerank_by_their_similarity() {
    let names = ["bert-mve-plain", "bert-mve-expand", "bert-mve-expand-attend", "pylate"];
    let (_server, mut client, answers, _folders) = published(names).await;
    for (name, answer) in names.iter().zip(&answers) {
        for (query, scores) in texts(&answer["queries"]).into_iter().zip(answer["maxsim"].as_array().unwrap()) {
            for options in [None, role(Role::Query)] {
                let request = v1::RerankRequest {
                    model: (*name).to_owned(),
                    query: Some(query.clone()),
                    documents: texts(&answer["documents"]),
                    options,
                    ..Default::default()
                };
                let got = client.rerank(request).await.unwrap().into_inner();
                close(&got.scores, &numbers(scores), 1e-3, name);
                assert_eq!((got.scoring(), failed(&got.items)), (Scoring::Maxsim, vec![]), "{name}");
            }
        }
    }
    let about = describe(&mut client, "pylate").await;
    assert_eq!((about.task(), about.late_similarity.as_str()), (v1::Task::LateInteraction, "maxsim"));
    assert_eq!((about.query_length, about.document_length), (12, 40));
    assert_eq!(about.roles().collect::<Vec<_>>(), [Role::Query, Role::Document]);
    assert!(about.rpcs.contains(&"Rerank".to_owned()) && !about.rpcs.contains(&"Embed".to_owned()), "{:?}", about.rpcs);
    let prompts = describe(&mut client, "bert-mve-plain").await.role_prompts;
    let prompts: Vec<_> = prompts.iter().map(|p| (p.role(), p.text.as_str())).collect();
    assert_eq!(prompts, [(Role::Query, "w10 "), (Role::Document, "w11 ")]);
}

#[tokio::test]
async fn a_query_that_a_late_interaction_model_cuts_is_told() {
    let (_server, mut client, [answer], _folders) = published(["bert-mve-expand"]).await;
    let mut cut = Vec::new();
    for query in texts(&answer["queries"]) {
        let request = v1::RerankRequest { query: Some(query), documents: vec![text("w5")], ..Default::default() };
        cut.push(client.rerank(request).await.unwrap().into_inner().query_truncated);
    }
    assert_eq!(cut, [false, true]);
    let error = v1::TextOptions { truncation: v1::Truncation::Error.into(), ..Default::default() };
    let request = v1::RerankRequest {
        query: texts(&answer["queries"]).pop(),
        documents: vec![text("w5")],
        options: Some(error),
        ..Default::default()
    };
    refused(client.rerank(request).await, bad("QUERY_TOO_LONG", "query"), &["16"]);
}

/// The numbers of a matrix.
fn matrix_numbers(matrix: &v1::TokenMatrix, format: v1::VectorFormat) -> Vec<f32> {
    match format {
        v1::VectorFormat::F16 => {
            matrix.vectors.chunks(2).map(|b| half::f16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect()
        }
        v1::VectorFormat::Int8 => matrix.vectors.iter().map(|b| f32::from(*b as i8) * matrix.scale).collect(),
        _ => f32s(&matrix.vectors),
    }
}

#[tokio::test]
async fn token_vectors_are_the_librarys_in_every_format() {
    let names = ["bert-mve-plain", "bert-mve-expand", "bert-mve-expand-attend", "pylate"];
    let (_server, mut client, answers, _folders) = published(names).await;
    for (name, answer) in names.iter().zip(&answers) {
        for (asked, inputs, key) in
            [(Role::Query, "queries", "query_vectors"), (Role::Document, "documents", "document_vectors")]
        {
            let formats = [
                (v1::VectorFormat::Unspecified, TOLERANCE),
                (v1::VectorFormat::F16, 1e-3),
                (v1::VectorFormat::Int8, 5e-3),
            ];
            for (format, tolerance) in formats {
                let request = v1::EmbedTokensRequest {
                    model: (*name).to_owned(),
                    inputs: texts(&answer[inputs]),
                    options: role(asked),
                    format: format.into(),
                    with_places: true,
                };
                let got = client.embed_tokens(request).await.unwrap().into_inner();
                assert_eq!((failed(&got.items), got.dimensions), (vec![], 16), "{name}");
                for (matrix, want) in got.matrices.iter().zip(answer[key].as_array().unwrap()) {
                    assert_eq!(matrix.rows as usize, want.as_array().unwrap().len(), "{name}, {key}");
                    close(&matrix_numbers(matrix, format), &numbers(want), tolerance, name);
                    assert!(matrix.tokens.len() == matrix.rows as usize && matrix.tokens.is_sorted());
                }
            }
            let request = v1::EmbedTokensRequest {
                model: (*name).to_owned(),
                inputs: texts(&answer[inputs]),
                options: role(asked),
                format: v1::VectorFormat::Ubinary.into(),
                ..Default::default()
            };
            let got = client.embed_tokens(request).await.unwrap().into_inner();
            for (matrix, want) in got.matrices.iter().zip(answer[key].as_array().unwrap()) {
                let numbers = numbers(want);
                assert_eq!((matrix.vectors.len(), matrix.tokens.len()), (numbers.len() / 8, 0));
                for (place, x) in numbers.iter().enumerate().filter(|(_, x)| x.abs() > 1e-5) {
                    assert_eq!(matrix.vectors[place / 8] >> (7 - place % 8) & 1 == 1, *x > 0.0, "{name}, {place}");
                }
            }
        }
    }
    let ask = |options, format: v1::VectorFormat| v1::EmbedTokensRequest {
        model: "pylate".to_owned(),
        inputs: vec![text("w5")],
        options,
        format: format.into(),
        ..Default::default()
    };
    let unsaid = client.embed_tokens(ask(None, v1::VectorFormat::F32)).await;
    refused(unsaid, bad("BAD_FIELD", "options.role"), &["query or document"]);
    let bytes = client.embed_tokens(ask(role(Role::Query), v1::VectorFormat::Uint8)).await;
    refused(bytes, bad("BAD_FIELD", "format"), &["INT8"]);
}

#[tokio::test]
async fn the_mean_of_an_embedders_token_vectors_is_its_vector() {
    let (_server, mut client) = serve(&["bert-base"]).await;
    let cases = cases("bert-base");
    let inputs: Vec<v1::Input> = cases.iter().filter(|c| c.pair.is_none()).map(|c| text(&c.text)).collect();
    let request = v1::EmbedTokensRequest { inputs, ..Default::default() };
    let got = client.embed_tokens(request).await.unwrap().into_inner();
    for (matrix, case) in got.matrices.iter().zip(cases.iter().filter(|c| c.pair.is_none())) {
        assert_eq!(matrix.rows as usize, case.ids.len());
        let (rows, width) = (f32s(&matrix.vectors), got.dimensions as usize);
        let mean: Vec<f32> =
            (0..width).map(|d| rows.iter().skip(d).step_by(width).sum::<f32>() / matrix.rows as f32).collect();
        close(&mean, &numbers(&case.all["mean"]), TOLERANCE, &case.text);
    }
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let request = v1::EmbedTokensRequest { inputs: vec![text("w5")], ..Default::default() };
    refused(client.embed_tokens(request).await, plain(Code::FailedPrecondition, "WRONG_TASK"), &["EmbedTokens"]);
}

#[tokio::test]
async fn documents_whose_vectors_were_kept_score_as_their_texts_do() {
    let (_server, mut client, answers, _folders) = published(["bert-mve-plain", "pylate"]).await;
    for (name, answer) in ["bert-mve-plain", "pylate"].into_iter().zip(&answers) {
        for (format, tolerance) in
            [(v1::VectorFormat::F32, TOLERANCE), (v1::VectorFormat::F16, 1e-2), (v1::VectorFormat::Int8, 5e-2)]
        {
            let request = v1::EmbedTokensRequest {
                model: name.to_owned(),
                inputs: texts(&answer["documents"]),
                options: role(Role::Document),
                format: format.into(),
                ..Default::default()
            };
            let kept = client.embed_tokens(request).await.unwrap().into_inner();
            let vectors = |matrix| v1::TokenVectors { dimensions: 16, format: format.into(), matrix: Some(matrix) };
            let mut documents: Vec<_> = kept.matrices.into_iter().map(|m| sent(vectors(m))).collect();
            // One is a text still, between the others.
            documents[1] = texts(&answer["documents"]).swap_remove(1);
            let request = v1::RerankRequest {
                model: name.to_owned(),
                query: Some(texts(&answer["queries"]).swap_remove(0)),
                documents,
                ..Default::default()
            };
            let got = client.rerank(request).await.unwrap().into_inner();
            close(&got.scores, &numbers(&answer["maxsim"][0]), tolerance, name);
            let items = got.items.unwrap();
            assert!(items.tokens[1] > 0 && items.tokens[0] == 0 && items.errors.is_empty(), "{items:?}");
        }
    }
}

fn sent(vectors: v1::TokenVectors) -> v1::Input {
    v1::Input { kind: Some(v1::input::Kind::Vectors(vectors)) }
}

#[tokio::test]
async fn vectors_that_do_not_fit_are_their_items_error() {
    let (_server, mut client, _, _folders) = published(["pylate"]).await;
    let narrow = v1::TokenMatrix { rows: 1, vectors: vec![0; 12].into(), ..Default::default() };
    let narrow = v1::TokenVectors { dimensions: 3, format: 1, matrix: Some(narrow) };
    let documents = vec![text("w5"), sent(narrow.clone())];
    let request = v1::RerankRequest { query: Some(text("w5")), documents, ..Default::default() };
    let got = client.rerank(request).await.unwrap().into_inner();
    assert_eq!(failed(&got.items), [(1, "BAD_VECTORS")]);
    assert!(got.scores[0].is_finite() && got.scores[1].is_nan());
    let request =
        v1::RerankRequest { query: Some(sent(narrow.clone())), documents: vec![text("w5")], ..Default::default() };
    refused(client.rerank(request).await, bad("BAD_FIELD", "query"), &["a text or ids"]);
    // Nothing else takes them.
    let (_server, mut client) = serve(&["bert-base"]).await;
    let request = v1::EmbedRequest { inputs: vec![sent(narrow.clone()), text("w5")], ..Default::default() };
    assert_eq!(failed(&client.embed(request).await.unwrap().into_inner().items), [(0, "UNSUPPORTED_INPUT")]);
    let request = v1::RerankRequest { query: Some(text("w5")), documents: vec![sent(narrow)], ..Default::default() };
    assert_eq!(failed(&client.rerank(request).await.unwrap().into_inner().items), [(0, "UNSUPPORTED_INPUT")]);
}

/// Keeps requests under way that bring more vectors together than may be held, until one is refused.
#[tokio::test(flavor = "multi_thread")]
async fn vectors_full() {
    let folder = assemble("pylate");
    let mut config = config(&[]);
    config.models = vec![spec("pylate", folder.path())];
    let message = 1 << 20;
    (config.frontend.max_message_bytes, config.max_text_bytes, config.max_vector_bytes) =
        (message, message, 4 * message);
    let (_server, client) = serve_with(config).await;
    let rows: u32 = 60_000;
    let numbers = vec![1; rows as usize * 16];
    let matrix = v1::TokenMatrix { rows, vectors: numbers.into(), scale: 0.5, ..Default::default() };
    let format = v1::VectorFormat::Int8.into();
    let documents = vec![sent(v1::TokenVectors { dimensions: 16, format, matrix: Some(matrix) })];
    let request = v1::RerankRequest { query: Some(text("w5")), documents, ..Default::default() };
    let calls = stream::repeat_with(|| {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.rerank(request).await }
    });
    let mut answers = calls.buffer_unordered(8);
    let status = loop {
        match answers.next().await.expect("the calls do not end") {
            Ok(answer) => assert!(answer.into_inner().scores[0].is_finite()),
            Err(status) => break status,
        }
    };
    drop(answers);
    let want = Refusal { code: Code::ResourceExhausted, reason: "VECTORS_FULL", field: Some("documents") };
    let status = refused::<()>(Err(status), want, &["3840000 bytes as f32", "4194304; max_vector_bytes"]);
    assert_eq!(pushback(&status), Some(50));
}
