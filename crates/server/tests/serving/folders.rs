//! Folders as people publish them, over the wire, judged by what their own libraries answer.

use serde_json::{Value, json};
use sortie_proto::v1::{self, Activation, Aggregation, Role, Scoring, TruncationSide};
use tempfile::TempDir;
use tonic::Code;

use crate::support::{
    Client, Refusal, Running, bad,
    cases::{TOLERANCE, cases, f32s, numbers},
    close, config, failed,
    folder::{self, assemble},
    pair, plain, refused, serve, serve_with, spec, text,
};

/// A server of folders of the oracle under their own names, a client of it, and their recorded answers.
async fn published<const N: usize>(names: [&str; N]) -> (Running, Client, [Value; N], Vec<TempDir>) {
    let folders: Vec<TempDir> = names.iter().map(|name| assemble(name)).collect();
    let mut config = config(&[]);
    config.models = names.iter().zip(&folders).map(|(name, folder)| spec(name, folder.path())).collect();
    let answers = std::array::from_fn(|i| {
        serde_json::from_slice(&std::fs::read(folders[i].path().join("expected.json")).unwrap()).unwrap()
    });
    let (server, client) = serve_with(config).await;
    (server, client, answers, folders)
}

fn texts(list: &Value) -> Vec<v1::Input> {
    list.as_array().unwrap().iter().map(|t| text(t.as_str().unwrap())).collect()
}

fn role(role: Role) -> Option<v1::TextOptions> {
    Some(v1::TextOptions { role: role.into(), ..Default::default() })
}

async fn describe(client: &mut Client, model: &str) -> v1::ModelInfo {
    client.get_model(v1::GetModelRequest { model: model.to_owned() }).await.unwrap().into_inner().model.unwrap()
}

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

#[tokio::test]
async fn vectors_come_in_bytes_and_bits_by_the_formulas_of_stores() {
    let (_server, mut client, [answer], _folders) = published(["static-st"]).await;
    let rows: Vec<Vec<f32>> = answer["vectors"].as_array().unwrap().iter().map(numbers).collect();
    let ask = |format: v1::VectorFormat, ranges| v1::EmbedRequest {
        inputs: texts(&answer["texts"]),
        format: format.into(),
        ranges,
        ..Default::default()
    };
    let width = rows[0].len();
    let bound = |pick: fn(f32, f32) -> f32| -> Vec<f32> {
        (0..width).map(|d| rows.iter().map(|row| row[d]).reduce(pick).unwrap()).collect()
    };
    let own = v1::Ranges { starts: bound(f32::min), ends: bound(f32::max) };
    let wide = v1::Ranges { starts: vec![-1.0; width], ends: vec![1.0; width] };
    for (sent, used) in [(None, own), (Some(wide.clone()), wide)] {
        let unsigned = client.embed(ask(v1::VectorFormat::Uint8, sent.clone())).await.unwrap().into_inner();
        let signed = client.embed(ask(v1::VectorFormat::Int8, sent)).await.unwrap().into_inner();
        let back = unsigned.ranges.unwrap();
        close(&back.starts, &used.starts, TOLERANCE, "starts");
        close(&back.ends, &used.ends, TOLERANCE, "ends");
        assert_eq!((unsigned.vectors.len(), unsigned.dimensions as usize), (rows.len() * width, width));
        for (place, (&byte, &other)) in unsigned.vectors.iter().zip(&signed.vectors).enumerate() {
            let (row, d) = (place / width, place % width);
            let step = (back.ends[d] - back.starts[d]) / 255.0;
            let step = if step == 0.0 { 1.0 } else { step };
            let want = ((rows[row][d] - back.starts[d]) / step).floor().clamp(0.0, 255.0);
            // The oracle prints six digits: a number at the edge of a step may fall on its other side.
            assert!((f32::from(byte) - want).abs() <= 1.0, "{row}, {d}: {byte}, not {want}");
            assert_eq!(i16::from(other as i8), i16::from(byte) - 128);
        }
    }
    let unsigned = client.embed(ask(v1::VectorFormat::Ubinary, None)).await.unwrap().into_inner();
    let signed = client.embed(ask(v1::VectorFormat::Binary, None)).await.unwrap().into_inner();
    assert_eq!((unsigned.vectors.len(), unsigned.ranges), (rows.len() * width / 8, None));
    for (place, (&byte, &other)) in unsigned.vectors.iter().zip(&signed.vectors).enumerate() {
        assert_eq!(i16::from(other as i8), i16::from(byte) - 128);
        for bit in 0..8 {
            let x = rows[place * 8 / width][place * 8 % width + bit];
            assert!(x.abs() < 1e-5 || (byte >> (7 - bit) & 1 == 1) == (x > 0.0), "{place}, {bit}: {x}");
        }
    }
    let few = v1::Ranges { starts: vec![0.0; 3], ends: vec![1.0; 3] };
    refused(client.embed(ask(v1::VectorFormat::Int8, Some(few.clone()))).await, bad("BAD_FIELD", "ranges"), &["3"]);
    refused(client.embed(ask(v1::VectorFormat::F32, Some(few))).await, bad("BAD_FIELD", "ranges"), &["INT8"]);
    let turned = v1::Ranges { starts: vec![1.0; width], ends: vec![0.0; width] };
    refused(
        client.embed(ask(v1::VectorFormat::Uint8, Some(turned))).await,
        bad("BAD_FIELD", "ranges"),
        &["dimension 0"],
    );
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
