//! Real ONNX exports, text in: external data and fused operators (minilm-onnx),
//! 4-bit weights (rampart), int8 QDQ without segments (quire).

use std::path::PathBuf;

use crate::support::{close, real};
use serde::Deserialize;
use sortie_engine::{
    EmbedSpec, EncodeOptions, Executor, LoadOptions, Model, Output, Pooling, Sequence, Want, WorkItem, cosine,
};

const NORMALISED_MEAN: Want =
    Want::Embedding(EmbedSpec { pooling: Some(Pooling::Mean), normalize: Some(true), dimensions: None });

fn open(name: &str) -> (Model, Executor) {
    let options = LoadOptions { threads: Some(2), max_length: Some(512), ..LoadOptions::default() };
    let model = Model::open(&real(name), &options).unwrap();
    assert_eq!(model.info().engine, "onnx", "{name}");
    let executor = Executor::new(&model).unwrap();
    (model, executor)
}

fn vectors(model: &Model, executor: &mut Executor, texts: &[&str]) -> Vec<Vec<f32>> {
    let encode = |t: &&str| model.tokenizer().encode(t, &EncodeOptions::default()).unwrap();
    let items: Vec<_> = texts.iter().map(|t| WorkItem { sequence: encode(t), want: NORMALISED_MEAN }).collect();
    let answers = executor.run(&items.iter().collect::<Vec<_>>());
    let vector = |a| match a {
        Ok(Output::Embedding(v)) => v,
        other => panic!("{other:?}"),
    };
    answers.into_iter().map(vector).collect()
}

/// Each word piece with its best label, special tokens left out.
fn tags(model: &Model, executor: &mut Executor, text: &str) -> Vec<(String, String)> {
    let tokenized = model.tokenizer().detail(text, None, &EncodeOptions::default(), true).unwrap();
    let item = WorkItem { sequence: tokenized.sequence, want: Want::TokenLogits };
    let Ok(Output::TokenLogits(logits)) = executor.run(&[&item]).remove(0) else { panic!("no token logits") };
    let labels = model.info().task.labels();
    assert_eq!(logits.len(), item.sequence.len() * labels.len());
    let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    let tokens = tokenized.details.iter().zip(logits.chunks(labels.len()));
    tokens
        .filter(|(d, _)| d.end > d.start)
        .map(|(d, row)| (text[d.start..d.end].to_owned(), labels[best(row)].clone()))
        .collect()
}

#[track_caller]
fn expect_tag(tags: &[(String, String)], word: &str, label: &str) {
    assert!(tags.iter().any(|(w, l)| w == word && l == label), "no {word} tagged {label} in {tags:?}");
}

#[derive(Deserialize)]
struct Expected {
    embed: Vec<Embedded>,
}

#[derive(Deserialize)]
struct Embedded {
    text: String,
    embedding: Vec<f32>,
}

#[test]
fn minilm_export_agrees_with_the_oracle_all_in_one_batch() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/minilm.json");
    let expected: Expected = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (model, mut executor) = open("minilm-onnx");
    let texts: Vec<&str> = expected.embed.iter().map(|e| e.text.as_str()).collect();
    assert!(texts.len() > 10);
    for (got, want) in vectors(&model, &mut executor, &texts).iter().zip(&expected.embed) {
        close(got, &want.embedding, 1e-5, &want.text.chars().take(40).collect::<String>());
    }
}

#[test]
fn minilm_export_knows_what_is_alike() {
    let (model, mut executor) = open("minilm-onnx");
    let v = vectors(
        &model,
        &mut executor,
        &["A man is eating food.", "Someone is having a meal.", "Shares tumbled.", "Equities dropped sharply."],
    );
    let near = |got: f32, want: f32| assert!((got - want).abs() < 1e-3, "{got} {want}");
    near(cosine(&v[0], &v[1]), 0.689);
    near(cosine(&v[2], &v[3]), 0.448);
    assert!(cosine(&v[0], &v[2]) < 0.1 && cosine(&v[1], &v[3]) < 0.1, "unrelated texts");
}

#[test]
fn minilm_company_changes_nothing() {
    let (_, mut executor) = open("minilm-onnx");
    let ids = |n: u32| (0..n).map(|i| 2000 + i * 37 % 9000).collect();
    let item = |n| WorkItem { sequence: Sequence { ids: ids(n), ..Sequence::default() }, want: NORMALISED_MEAN };
    let probe = item(23);
    let Ok(Output::Embedding(alone)) = executor.run(&[&probe]).remove(0) else { panic!("no vector") };
    let mates: Vec<_> = (0..63).map(|i| item(1 + i * 97 % 200)).collect();
    for place in [0, 31, 63] {
        let mut batch: Vec<&WorkItem> = mates.iter().collect();
        batch.insert(place, &probe);
        let Ok(Output::Embedding(got)) = executor.run(&batch).remove(place) else { panic!("no vector") };
        close(&got, &alone, 1e-5, &format!("at place {place} of 64"));
    }
}

#[test]
fn rampart_finds_personal_data() {
    let (model, mut executor) = open("rampart");
    assert_eq!(model.info().task.labels().len(), 35);
    let name =
        tags(&model, &mut executor, "My name is Alex Rivera and I live at 221 Baker Street, Springfield, IL 62704.");
    for (word, label) in [
        ("Alex", "B-GIVEN_NAME"),
        ("Rivera", "B-SURNAME"),
        ("221", "B-BUILDING_NUMBER"),
        ("Baker", "B-STREET_NAME"),
        ("Street", "I-STREET_NAME"),
        ("IL", "B-STATE"),
    ] {
        expect_tag(&name, word, label);
    }
    let mail = tags(&model, &mut executor, "You can reach me at jane.doe@example.com");
    assert!(mail.iter().any(|(_, l)| l == "B-EMAIL"), "{mail:?}");
    let fox = tags(&model, &mut executor, "The quick brown fox jumps over the lazy dog.");
    assert!(fox.iter().all(|(_, l)| l == "O"), "{fox:?}");
}

#[test]
fn quire_corrects_grammar() {
    let (model, mut executor) = open("quire");
    assert_eq!(model.info().task.labels().len(), 213);
    let wrong = tags(&model, &mut executor, "He have two dog");
    expect_tag(&wrong, "have", "$REPLACE_has");
    assert!(wrong.iter().all(|(w, l)| w == "have" || l == "$KEEP"), "{wrong:?}");
    let right = tags(&model, &mut executor, "He has two dogs.");
    assert!(right.iter().all(|(_, l)| l == "$KEEP"), "{right:?}");
}
