//! Folders as people publish them, against the answers of the libraries that define the layout: sentence-transformers 6.2,
//! PyLate 1.6 and transformers 5.24, in f32 on the processor. Beside each stands its twin, the usual layout, which must
//! stay right.

mod adapter;
mod causal;
mod families;
mod kinds;
mod late;
mod mutate;
mod mutations;
mod roles;
mod tables;
mod tokenizers;

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use sortie_engine::{
    Activation, Aggregation, EmbedSpec, EncodeOptions, Executor, LoadOptions, Model, Output, Pooling, Problem, Role,
    Sequence, Task, Want, WorkItem, activate, entities,
};

use crate::support::{assemble, close, edit, options, oracle};

/// The bound of the libraries' six printed digits, and of sums in another order.
const CLOSE: f32 = 1e-4;

#[derive(Deserialize)]
struct Vectors {
    texts: Vec<String>,
    vectors: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Sparse {
    texts: Vec<String>,
    vectors: Vec<std::collections::BTreeMap<u32, f32>>,
}

#[derive(Deserialize)]
struct Scores {
    query: String,
    documents: Vec<String>,
    raw: Vec<f32>,
}

fn expected<T: for<'de> Deserialize<'de>>(folder: &Path, file: &str) -> T {
    serde_json::from_str(&std::fs::read_to_string(folder.join(file)).unwrap()).unwrap()
}

fn open(folder: &Path) -> Model {
    Model::open(folder, &options()).unwrap()
}

/// Runs the sequences, alone and together, and returns what came together.
fn run(model: &Model, sequences: Vec<Sequence>, want: Want) -> Vec<Output> {
    let mut executor = Executor::new(model).unwrap();
    let items: Vec<WorkItem> = sequences.into_iter().map(|sequence| WorkItem { sequence, want }).collect();
    let together: Vec<Output> =
        executor.run(&items.iter().collect::<Vec<_>>()).into_iter().map(Result::unwrap).collect();
    for (item, together) in items.iter().zip(&together) {
        let alone = executor.run(&[item]).remove(0).unwrap();
        close(&numbers(&alone), &numbers(together), 1e-5, "alone against together");
    }
    together
}

fn numbers(output: &Output) -> Vec<f32> {
    match output {
        Output::Logits(v) | Output::TokenLogits(v) | Output::Embedding(v) => v.clone(),
        Output::TokenEmbeddings(v) => v.values.clone(),
        Output::Sparse(v) => v.iter().map(|(_, w)| *w).collect(),
        Output::SpanScores(v) => v.values.clone(),
    }
}

/// Writes a file of JSON below a folder.
fn write(folder: &Path, file: &str, value: &Value) {
    let path = folder.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, value.to_string()).unwrap();
}

/// What a folder is refused with.
fn refused(folder: &Path) -> String {
    Model::open(folder, &options()).unwrap_err().to_string()
}

fn as_role(role: Role) -> EncodeOptions {
    EncodeOptions { role: Some(role), ..EncodeOptions::default() }
}

fn embeds(name: &str) {
    let folder = assemble(name);
    vectors_are(&open(folder.path()), &expected(folder.path(), "expected.json"), None);
}

fn vectors_are(model: &Model, want: &Vectors, prompt: Option<&str>) {
    let read = |text: &String| match prompt {
        Some(prompt) => model.tokenizer().encode_after(prompt, text, &EncodeOptions::default()).unwrap(),
        None => model.tokenizer().encode(text, &EncodeOptions::default()).unwrap(),
    };
    let sequences = want.texts.iter().map(read).collect();
    let got = run(model, sequences, Want::Embedding(EmbedSpec::default()));
    for ((got, want), text) in got.iter().zip(&want.vectors).zip(&want.texts) {
        close(&numbers(got), want, CLOSE, text);
        assert_eq!(want.len(), model.info().dimensions);
    }
}

#[test]
fn a_pooling_in_the_new_spelling() {
    embeds("compact-lasttoken");
    let folder = assemble("compact-lasttoken");
    let info = open(folder.path()).info().clone();
    assert_eq!((info.pooling, info.normalize), (Some(Pooling::Last), true));
}

#[test]
fn a_prompt_that_is_not_pooled() {
    let folder = assemble("include-prompt");
    let model = open(folder.path());
    let prompt = &model.info().prompt_of(Some(Role::Query)).unwrap().to_owned();
    vectors_are(&model, &expected(folder.path(), "expected.json"), Some(prompt));
    // The twin: where the prompt counts, the same text has another vector.
    let twin = assemble("include-prompt");
    edit(&twin.path().join("1_Pooling/config.json"), "\"include_prompt\": false", "\"include_prompt\": true");
    let (with, without) = (open(twin.path()), model);
    let encode = |m: &Model| m.tokenizer().encode_after(prompt, "w20 w21", &EncodeOptions::default()).unwrap();
    let of = |m: &Model| numbers(&run(m, vec![encode(m)], Want::Embedding(EmbedSpec::default()))[0]);
    assert_eq!(encode(&with).ids, encode(&without).ids);
    assert!(of(&with).iter().zip(of(&without)).any(|(a, b)| (a - b).abs() > 0.01));
}

fn sparse_are(model: &Model, folder: &Path, file: &str, role: Option<Role>) {
    let want: Sparse = expected(folder, file);
    let fit = EncodeOptions { role, ..EncodeOptions::default() };
    let sequences = want.texts.iter().map(|text| model.tokenizer().encode(text, &fit).unwrap()).collect();
    for (got, want) in run(model, sequences, Want::Sparse).iter().zip(&want.vectors) {
        let Output::Sparse(got) = got else { panic!("{got:?}") };
        let (ids, weights): (Vec<u32>, Vec<f32>) = got.iter().copied().unzip();
        let kept: Vec<(&u32, &f32)> = want.iter().filter(|(_, w)| **w > 5e-5).collect();
        let ours: Vec<(&u32, &f32)> = ids.iter().zip(&weights).filter(|(_, w)| **w > 5e-5).collect();
        assert_eq!(
            ours.iter().map(|(id, _)| **id).collect::<Vec<_>>(),
            kept.iter().map(|(id, _)| **id).collect::<Vec<_>>()
        );
        let (ours, kept): (Vec<f32>, Vec<f32>) = ours.iter().zip(&kept).map(|(a, b)| (*a.1, *b.1)).unzip();
        close(&ours, &kept, CLOSE, "weights");
    }
}

#[test]
fn splade_that_sums() {
    let folder = assemble("splade-sum");
    sparse_are(&open(folder.path()), folder.path(), "expected.json", None);
}

#[test]
fn splade_of_the_largest_stays_and_a_limit_of_dimensions_is_kept() {
    let folder = assemble("splade-sum");
    let config = folder.path().join("1_SpladePooling/config.json");
    edit(&config, "\"sum\"", "\"max\"");
    let of = |folder: &Path| {
        let model = open(folder);
        let sequence = model.tokenizer().encode("w20 w21 w22 w23", &EncodeOptions::default()).unwrap();
        match run(&model, vec![sequence], Want::Sparse).remove(0) {
            Output::Sparse(weights) => weights,
            other => panic!("{other:?}"),
        }
    };
    let once = of(folder.path());
    edit(&config, "\"relu\"", "\"log1p_relu\"");
    let twice = of(folder.path());
    assert_eq!(once.len(), twice.len());
    for ((_, once), (_, twice)) in once.iter().zip(&twice) {
        assert!((once.ln_1p() - twice).abs() < 1e-5);
    }
    let library = folder.path().join("config_sentence_transformers.json");
    edit(&library, "\"prompts\"", "\"max_active_dims\": 5, \"prompts\"");
    let most = of(folder.path());
    let mut largest: Vec<f32> = twice.iter().map(|(_, w)| *w).collect();
    largest.sort_by(|a, b| b.total_cmp(a));
    assert_eq!(most.len(), 5);
    assert!(most.iter().all(|(_, w)| *w >= largest[4]));
}

#[test]
fn a_router_sends_queries_and_documents_their_own_ways() {
    let folder = assemble("router");
    let model = open(folder.path());
    assert_eq!(model.info().task, Task::SparseEmbedding);
    sparse_are(&model, folder.path(), "expected.json", Some(Role::Document));
    sparse_are(&model, folder.path(), "expected.json", None);
    sparse_are(&model, folder.path(), "expected.query.json", Some(Role::Query));
    // Both in one batch.
    let fit = |role| EncodeOptions { role: Some(role), ..EncodeOptions::default() };
    let read = |role| model.tokenizer().encode("w20 w21 w22 w23", &fit(role)).unwrap();
    let (query, document) = (read(Role::Query), read(Role::Document));
    assert_eq!((query.len(), document.len()), (4, 6), "a static query has no special tokens");
    let mixed = run(&model, vec![query.clone(), document.clone(), query], Want::Sparse);
    assert_eq!(mixed[0], mixed[2]);
    assert!(numbers(&mixed[0]).len() == 4 && numbers(&mixed[1]).len() > 4);
}

#[test]
fn a_router_without_a_way_for_a_role_refuses_it() {
    let folder = assemble("router");
    let router = folder.path().join("router_config.json");
    edit(&router, "\"default_route\": \"document\"", "\"default_route\": null");
    edit(&router, "\"allow_empty_key\": true", "\"allow_empty_key\": false");
    let model = open(folder.path());
    let error = model.tokenizer().encode("w20", &EncodeOptions::default()).unwrap_err();
    assert_eq!(error.reason(), "BAD_ROLE");
}

fn scores_are(name: &str) -> Model {
    let folder = assemble(name);
    let model = open(folder.path());
    let want: Scores = expected(folder.path(), "expected.json");
    let pair =
        |document: &String| model.tokenizer().encode_pair(&want.query, document, &EncodeOptions::default()).unwrap();
    let got = run(&model, want.documents.iter().map(pair).collect(), Want::Logits);
    for (got, want) in got.iter().zip(&want.raw) {
        close(&numbers(got), &[*want], CLOSE, name);
    }
    model
}

#[test]
fn cross_encoders_made_of_modules() {
    for name in ["ce-dense", "bert-ce-modular"] {
        let model = scores_are(name);
        let Task::SequenceClassification { labels, .. } = &model.info().task else { panic!("{:?}", model.info().task) };
        assert_eq!(labels.len(), 1, "{name}");
        assert_eq!(model.info().activation.as_ref().unwrap().activation, Some(Activation::Sigmoid), "{name}");
    }
}

#[test]
fn texts_that_the_library_lower_cases() {
    embeds("lower");
    let twin = assemble("lower");
    edit(&twin.path().join("sentence_bert_config.json"), "true", "false");
    let ids = |folder: &Path| open(folder).tokenizer().encode("W20 w21", &EncodeOptions::default()).unwrap().ids;
    assert_eq!(ids(assemble("lower").path()), [2, 20, 21, 3]);
    assert_ne!(ids(twin.path()), [2, 20, 21, 3]);
}

#[test]
fn a_dense_layer_with_a_residual() {
    embeds("residual");
}

#[test]
fn a_length_that_replaces_the_tokenizers() {
    embeds("lengths");
    let folder = assemble("lengths");
    assert_eq!(open(folder.path()).info().max_length, 128);
    std::fs::remove_file(folder.path().join("sentence_bert_config.json")).unwrap();
    assert_eq!(open(folder.path()).info().max_length, 16);
}

#[test]
fn numbers_of_a_regression_are_the_answer() {
    let folder = assemble("regression");
    let model = open(folder.path());
    let Task::SequenceClassification { labels, problem } = &model.info().task else {
        panic!("{:?}", model.info().task)
    };
    assert_eq!(*problem, Problem::Regression);
    #[derive(Deserialize)]
    struct Want {
        texts: Vec<String>,
        scores: Vec<Vec<Label>>,
    }
    #[derive(Deserialize)]
    struct Label {
        label: String,
        score: f32,
    }
    let want: Want = expected(folder.path(), "expected.json");
    let read = |text: &String| model.tokenizer().encode(text, &EncodeOptions::default()).unwrap();
    let got = run(&model, want.texts.iter().map(read).collect(), sortie_engine::Want::Logits);
    for (got, want) in got.iter().zip(&want.scores) {
        let in_order: Vec<f32> =
            labels.iter().map(|name| want.iter().find(|w| w.label == *name).unwrap().score).collect();
        close(&numbers(got), &in_order, CLOSE, "scores");
    }
}

#[test]
fn an_encoder_in_a_folder_of_its_own() {
    embeds("old-layout");
}

#[test]
fn exports_beside_weights_do_not_matter() {
    let folder = assemble("variants");
    let model = open(folder.path());
    assert_eq!(model.info().engine, "native");
    let twin = Model::open(&oracle("bert-rerank"), &options()).unwrap();
    let pair = |m: &Model| m.tokenizer().encode_pair("w20 w21", "w30", &EncodeOptions::default()).unwrap();
    assert_eq!(run(&model, vec![pair(&model)], Want::Logits), run(&twin, vec![pair(&twin)], Want::Logits));
}

#[test]
fn a_pad_token_that_a_text_spells_out() {
    #[derive(Deserialize)]
    struct Cases {
        cases: Vec<Case>,
    }
    #[derive(Deserialize)]
    struct Case {
        text: String,
        input_ids: Vec<u32>,
        mean: Vec<f32>,
    }
    let folder = assemble("pad-literal");
    let model = open(folder.path());
    let cases: Cases = expected(folder.path(), "expected.json");
    let sequences: Vec<Sequence> = cases
        .cases
        .iter()
        .map(|case| {
            let sequence = model.tokenizer().encode(&case.text, &EncodeOptions::default()).unwrap();
            assert_eq!(sequence.ids, case.input_ids, "{}", case.text);
            sequence
        })
        .collect();
    for (got, case) in run(&model, sequences, Want::Embedding(EmbedSpec::default())).iter().zip(&cases.cases) {
        close(&numbers(got), &case.mean, CLOSE, &case.text);
    }
}

#[test]
fn an_embedder_out_of_a_masked_lm_checkpoint() {
    let folder = assemble("mlm-plain");
    let pooled = LoadOptions { pooling: Some(Pooling::Mean), ..options() };
    let model = Model::open(folder.path(), &pooled).unwrap();
    assert_eq!(model.info().task, Task::Embedding);
    vectors_are(&model, &expected(folder.path(), "expected.json"), None);
    assert_eq!(open(folder.path()).info().task, Task::SparseEmbedding, "without pooling it stays what it was");
}

#[test]
fn static_embeddings() {
    let folder = assemble("static-st");
    let model = open(folder.path());
    assert_eq!(model.info().engine, "static");
    vectors_are(&model, &expected(folder.path(), "expected.json"), None);
}

#[test]
fn entities_by_each_strategy_of_the_pipeline_and_by_ours() {
    #[derive(Deserialize)]
    struct Want {
        texts: Vec<String>,
        aggregation: std::collections::BTreeMap<String, Vec<Vec<Labelled>>>,
    }
    #[derive(Deserialize)]
    struct Labelled {
        label: String,
        score: f32,
        text: String,
        start: usize,
        end: usize,
    }
    let folder = assemble("xlmr-ner");
    let model = open(folder.path());
    let labels = model.info().task.labels().to_vec();
    let want: Want = expected(folder.path(), "expected.json");
    let rules = model.tokenizer().word_rules();
    let found = |text: &str, aggregation: Aggregation| {
        let made = model.tokenizer().detail(text, None, &EncodeOptions::default(), true).unwrap();
        let mut scores = numbers(&run(&model, vec![made.sequence.clone()], sortie_engine::Want::TokenLogits)[0]);
        activate(&mut scores, labels.len(), Activation::Softmax);
        entities(text, (&made.sequence.ids, &made.details), &scores, &labels, (aggregation, rules), &[])
    };
    for (name, by_text) in &want.aggregation {
        let aggregation = match name.as_str() {
            "none" => Aggregation::None,
            "simple" => Aggregation::Simple,
            "first" => Aggregation::First,
            "average" => Aggregation::Average,
            "max" => Aggregation::Max,
            other => panic!("{other}"),
        };
        for (text, want) in want.texts.iter().zip(by_text) {
            let got = found(text, aggregation);
            let shown: Vec<_> = got.iter().map(|e| (e.label.as_str(), &text[e.start..e.end])).collect();
            let wanted: Vec<_> = want.iter().map(|e| (e.label.as_str(), e.text.as_str())).collect();
            assert_eq!(shown, wanted, "{name}: {text}");
            for (got, want) in got.iter().zip(want) {
                assert!((got.score - want.score).abs() < CLOSE, "{name}: {text}");
                // The library counts characters.
                let at = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
                assert_eq!((got.start, got.end), (at(want.start), at(want.end)), "{name}: {text}");
            }
        }
    }
    let ours: Vec<Vec<&str>> = want
        .texts
        .iter()
        .map(|text| found(text, Aggregation::Words).iter().map(|e| &text[e.start..e.end]).collect())
        .collect();
    assert_eq!(ours, [vec!["Obama", "Paris", "London", "Berlin"], vec!["山田太郎", "東京"]]);
}
