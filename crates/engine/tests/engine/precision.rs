//! What narrow formats do to real models on the processor: the order of documents with that of f32 as the truth, and the direction
//! of vectors. And what is refused by name.

use serde::Deserialize;
use sortie_engine::{
    Device, EncodeOptions, Executor, LoadOptions, Model, Output, Precision, Truncation, Want, WorkItem,
};

use crate::support::{oracle, real};

/// Formats, the least nDCG@10, the least Kendall's tau and the least cosine.
const BOUNDS: [(Precision, f64, f64, f64); 3] = [
    (Precision::Bf16x3, 0.9999, 0.99, 0.999_999),
    (Precision::Bf16, 0.997, 0.98, 0.9999),
    (Precision::Int8, 0.995, 0.97, 0.998),
];

#[derive(Deserialize)]
struct Expected {
    embed: Vec<Embedded>,
    rerank: Vec<Scored>,
}

#[derive(Deserialize)]
struct Embedded {
    text: String,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Scored {
    query: String,
    document: String,
    logit: f32,
}

fn expected() -> Expected {
    serde_json::from_str(&std::fs::read_to_string(oracle("../minilm.json")).unwrap()).unwrap()
}

/// The model in each format that this processor has.
fn each(name: &str, mut check: impl FnMut(&Model, &mut Executor, (f64, f64, f64))) {
    for (precision, gain, tau, cosine) in BOUNDS {
        if let Some(why) = precision.refused_on(Device::Cpu) {
            eprintln!("SKIPPED: {} of {name}: {why}", precision.name());
            continue;
        }
        let options = LoadOptions {
            threads: Some(2),
            max_length: Some(512),
            precision: Some(precision),
            ..LoadOptions::default()
        };
        let model = Model::open(&real(name), &options).unwrap();
        assert_eq!(model.info().precision, precision.name());
        check(&model, &mut Executor::new(&model).unwrap(), (gain, tau, cosine));
    }
}

/// Discounted gains of the first ten: a document's gain is the probability that f32 gives it.
fn gain(order: &[usize], truth: &[f32]) -> f64 {
    let probability = |i: usize| 1.0 / (1.0 + (-f64::from(truth[i])).exp());
    order.iter().take(10).enumerate().map(|(rank, &i)| probability(i) / (rank as f64 + 2.0).log2()).sum()
}

fn order(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

fn tau(a: &[f32], b: &[f32]) -> f64 {
    let pairs = || (0..a.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    let alike = |(i, j): (usize, usize)| if (a[i] < a[j]) == (b[i] < b[j]) { 1.0 } else { -1.0 };
    pairs().map(alike).sum::<f64>() / pairs().count() as f64
}

#[test]
fn documents_keep_their_order() {
    let all = expected().rerank;
    let truth: Vec<f32> = all.iter().map(|case| case.logit).collect();
    each("reranker", |model, executor, (least_gain, least_tau, _)| {
        let options = EncodeOptions { truncation: Truncation::LongestFirst, ..EncodeOptions::default() };
        let encode = |case: &Scored| {
            let query = model.tokenizer().query(&case.query, &options).unwrap();
            model.tokenizer().encode_with(&query, &case.document).unwrap()
        };
        let items: Vec<_> = all.iter().map(|case| WorkItem { sequence: encode(case), want: Want::Logits }).collect();
        let answers = executor.run(&items.iter().collect::<Vec<_>>());
        let scores: Vec<f32> = answers
            .into_iter()
            .map(|answer| match answer {
                Ok(Output::Logits(logits)) => logits[0],
                other => panic!("no score: {other:?}"),
            })
            .collect();
        let what = model.info().precision;
        let given = gain(&order(&scores), &truth) / gain(&order(&truth), &truth);
        assert!(given >= least_gain, "{what}: nDCG@10 is {given}");
        let alike = tau(&scores, &truth);
        assert!(alike >= least_tau, "{what}: tau is {alike}");
    });
}

#[test]
fn vectors_keep_their_direction() {
    each("minilm", |model, executor, (_, _, least)| {
        for case in expected().embed {
            let sequence = model.tokenizer().encode(&case.text, &EncodeOptions::default()).unwrap();
            let item = WorkItem { sequence, want: Want::Embedding(model.info().embed) };
            let Ok(Output::Embedding(v)) = executor.run(&[&item]).remove(0) else { panic!("no vector") };
            let dot =
                |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
            let want = &case.embedding;
            let alike = dot(&v, want) / (dot(&v, &v) * dot(want, want)).sqrt();
            assert!(alike >= least, "{}: cosine {alike} of {:?}", model.info().precision, case.text);
        }
    });
}

#[test]
fn what_a_processor_lacks_is_refused_by_name() {
    let folder = crate::support::tiny().join("bert-rerank");
    let open = |precision| Model::open(&folder, &LoadOptions { precision: Some(precision), ..LoadOptions::default() });
    let why = open(Precision::F16).map(drop).unwrap_err().to_string();
    assert!(why.contains("precision f16") && why.contains("bf16x3"), "{why}");
    let automatic = open(Precision::Auto).unwrap();
    assert!(["f32", "bf16"].contains(&automatic.info().precision), "{}", automatic.info().precision);
    assert_eq!(Model::open(&folder, &LoadOptions::default()).unwrap().info().precision, "f32");
}
