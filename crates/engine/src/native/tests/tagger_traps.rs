//! Mistakes that a tagger of labels of the request invites, made one by one: answers must then not be the package's.

use std::sync::Arc;

use serde::Deserialize;

use super::{archived, native_of, numbers::run};
use crate::{
    device::Device,
    item::{Output, Sequence, Want, WordPlaces, WorkItem},
    model::Model,
    native::{
        NativeExecutor, NativeModel,
        family::{BothWays, Encoder, Lstm, TagScorer, Tagger},
        graph::Head,
    },
    onnx::Target,
    options::LoadOptions,
    spans::SpanScores,
};

/// The bound of the oracle's tests.
const CLOSE: f32 = 1e-4;

#[derive(Deserialize)]
struct ScoredCases {
    cases: Vec<ScoredCase>,
}

#[derive(Deserialize)]
struct ScoredCase {
    text: String,
    labels: Vec<String>,
    logits: Vec<f32>,
}

/// A folder's texts as they are read, and the logits that belong to them.
fn cases(folder: &str) -> Vec<(Sequence, Vec<f32>)> {
    let folder = archived(folder);
    let bytes = std::fs::read(folder.join("expected.json")).unwrap();
    let model = Model::open(&folder, &LoadOptions::default()).unwrap();
    let read = |ScoredCase { text, labels, logits }| {
        let prompt = model.tokenizer().label_prompt(&labels).unwrap();
        (model.tokenizer().encode_labelled(&prompt, &text, &Default::default()).unwrap(), logits)
    };
    serde_json::from_slice::<ScoredCases>(&bytes).unwrap().cases.into_iter().map(read).collect()
}

/// How far the logits of a model are off at most; infinitely where there are more or fewer.
fn off(model: &NativeModel, cases: &[(Sequence, Vec<f32>)]) -> f32 {
    let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
    let mut executor = NativeExecutor::load(model, &options, Device::Cpu, Target::Cpu).unwrap();
    let mut most = 0.0_f32;
    for (sequence, want) in cases {
        let item = WorkItem { sequence: sequence.clone(), want: Want::SpanScores };
        let Ok(Output::SpanScores(scores)) = run(&mut executor, &[&item]).remove(0) else {
            panic!("no scores of spans")
        };
        let SpanScores { words, labels, width, values } = scores;
        let rows = values.chunks_exact(labels).enumerate();
        let there = |row: usize| width.is_none_or(|width| row / width + row % width < words);
        let got: Vec<f32> = match width {
            Some(_) => rows.filter(|(row, _)| there(*row)).flat_map(|(_, row)| row.to_vec()).collect(),
            None => values,
        };
        if got.len() != want.len() {
            return f32::INFINITY;
        }
        let largest = want.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
        most = got.iter().zip(want).map(|(g, w)| (g - w).abs() / largest).fold(most, f32::max);
    }
    most
}

/// What is done wrong in a model.
type TaggerMistake = (&'static str, fn(&mut NativeModel));
/// What is done wrong in reading a text.
type Misreading = (&'static str, fn(&mut Sequence));

fn shows(folder: &str, mistakes: &[TaggerMistake], misreadings: &[Misreading]) {
    let cases = cases(folder);
    let right = off(&native_of(&archived(folder)), &cases);
    assert!(right <= CLOSE, "{folder} is off by {right}");
    for (mistake, make) in mistakes {
        let mut model = native_of(&archived(folder));
        make(&mut model);
        let wrong = off(&model, &cases);
        assert!(wrong > CLOSE, "{folder} does not show {mistake}: off by {wrong}");
    }
    for (misreading, make) in misreadings {
        let mut cases = cases.clone();
        cases.iter_mut().for_each(|(sequence, _)| make(sequence));
        let wrong = off(&native_of(&archived(folder)), &cases);
        assert!(wrong > CLOSE, "{folder} does not show {misreading}: off by {wrong}");
    }
}

fn tagger(model: &mut NativeModel) -> &mut Tagger {
    model.tagger.as_mut().unwrap()
}

fn ways_swapped(model: &mut NativeModel) {
    for BothWays { forward, backward } in &mut tagger(model).recurrent {
        std::mem::swap(forward, backward);
    }
}

fn no_lstm(model: &mut NativeModel) {
    tagger(model).recurrent.clear();
}

fn one_lstm_less(model: &mut NativeModel) {
    tagger(model).recurrent.pop();
}

fn no_bias_of_the_state(model: &mut NativeModel) {
    for BothWays { forward: Lstm { read, before, .. }, .. } in &mut tagger(model).recurrent {
        before.bias.clone_from(&read.bias);
    }
}

fn ends_swapped(model: &mut NativeModel) {
    if let TagScorer::Spans { first, last, .. } = &mut tagger(model).scorer {
        std::mem::swap(first, last);
    }
}

fn a_word_narrower(model: &mut NativeModel) {
    if let TagScorer::Spans { longest, .. } = &mut tagger(model).scorer {
        *longest -= 1;
        model.head = Head::Spans { width: Some(*longest) };
    }
}

fn words_and_labels_swapped(model: &mut NativeModel) {
    if let TagScorer::Words { word, label, .. } = &mut tagger(model).scorer {
        std::mem::swap(word, label);
    }
}

fn distances_end_early(model: &mut NativeModel) {
    let Encoder { layers, .. } = &mut model.encoder;
    layers.iter_mut().for_each(|layer| layer.attention.distances = None);
}

fn places(sequence: &mut Sequence) -> &mut WordPlaces {
    Arc::make_mut(sequence.places.as_mut().unwrap())
}

/// The other end of each word that has several tokens.
fn other_end_of_words(sequence: &mut Sequence) {
    let tokens = sequence.len() as u32 - 2;
    let places = places(sequence);
    let starts: Vec<u32> = places.words.iter().map(|word| word.token).collect();
    for (i, word) in places.words.iter_mut().enumerate() {
        word.token = starts.get(i + 1).map_or(tokens, |next| next - 1);
    }
}

/// The token before, which is the word's own where it has several and is read from its last.
fn token_before(sequence: &mut Sequence) {
    places(sequence).words.iter_mut().for_each(|word| word.token -= 1);
}

fn token_behind_the_marker(sequence: &mut Sequence) {
    places(sequence).labels.iter_mut().for_each(|label| *label += 1);
}

fn marker_itself(sequence: &mut Sequence) {
    places(sequence).labels.iter_mut().for_each(|label| *label -= 1);
}

/// What ends the labels stands before them.
fn end_before_the_labels(sequence: &mut Sequence) {
    let first = places(sequence).words.first().map_or(0, |word| word.token as usize);
    let end = sequence.ids.remove(first - 1);
    sequence.ids.insert(1, end);
    places(sequence).labels.iter_mut().for_each(|label| *label += 1);
}

#[test]
fn spans_behind_an_lstm() {
    shows(
        "gliner/deberta-lstm",
        &[
            ("an LSTM's ways exchanged", ways_swapped),
            ("the LSTM left out", no_lstm),
            ("the second bias of the LSTM left for the first", no_bias_of_the_state),
            ("the ends of a span exchanged", ends_swapped),
            ("spans a word narrower", a_word_narrower),
            ("DeBERTa's distances left out", distances_end_early),
        ],
        &[
            ("a word read from its last token", other_end_of_words),
            ("a label read from its own token", token_behind_the_marker),
            ("the end of the labels before them", end_before_the_labels),
        ],
    );
}

#[test]
fn spans_behind_two_lstms() {
    shows(
        "gliner/modernbert-two-lstms",
        &[("an LSTM's ways exchanged", ways_swapped), ("the second LSTM left out", one_lstm_less)],
        &[("a word read from the token before its last", token_before)],
    );
}

#[test]
fn spans_of_labels_read_from_their_words() {
    shows(
        "gliner/bert-label-words",
        &[("the ends of a span exchanged", ends_swapped)],
        &[("a label read from its marker", marker_itself)],
    );
}

#[test]
fn words() {
    shows(
        "gliner/deberta-tokens",
        &[("words and labels exchanged", words_and_labels_swapped), ("an LSTM's ways exchanged", ways_swapped)],
        &[("the end of the labels before them", end_before_the_labels)],
    );
}
