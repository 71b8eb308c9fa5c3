//! Taggers whose labels come with the request, against the package `gliner`: its ids, its logits, and the spans it chooses.

use std::path::PathBuf;

use serde::Deserialize;
use sortie_engine::{
    EncodeOptions, Executor, InputError, LoadError, Model, Output, Sequence, SpanRules, SpanScores, Truncation, Want,
    WorkItem,
};

use crate::support::{archived, options};

/// Largest distance of a logit, and of a score.
const CLOSE: f32 = 1e-4;

const MODELS: [&str; 6] =
    ["bert-label-words", "bert-tokens", "deberta-lstm", "deberta-plain", "deberta-tokens", "modernbert-two-lstms"];

#[derive(Deserialize)]
struct TaggedCases {
    cases: Vec<TaggedCase>,
}

#[derive(Deserialize)]
struct TaggedCase {
    text: String,
    labels: Vec<String>,
    ids: Vec<u32>,
    words: Vec<String>,
    /// Of the stretches that are there, or of the words.
    logits: Vec<f32>,
    answers: Vec<ChosenAnswer>,
}

#[derive(Deserialize)]
struct ChosenAnswer {
    threshold: f32,
    nested: bool,
    multi_label: bool,
    /// First byte, end, number of the label, score.
    spans: Vec<(usize, usize, usize, f32)>,
}

fn folder(name: &str) -> PathBuf {
    archived("gliner").join(name)
}

fn open(name: &str) -> (Model, Executor) {
    let model = Model::open(&folder(name), &options()).unwrap();
    let executor = Executor::new(&model).unwrap();
    (model, executor)
}

fn cases(name: &str) -> Vec<TaggedCase> {
    let bytes = std::fs::read(folder(name).join("expected.json")).unwrap();
    serde_json::from_slice::<TaggedCases>(&bytes).unwrap().cases
}

fn sequence(model: &Model, text: &str, labels: &[String]) -> Sequence {
    let prompt = model.tokenizer().label_prompt(labels).unwrap();
    model
        .tokenizer()
        .encode_labelled(&prompt, text, &EncodeOptions { truncation: Truncation::Error, ..EncodeOptions::default() })
        .unwrap()
}

fn run(executor: &mut Executor, sequences: &[Sequence]) -> Vec<SpanScores> {
    let items: Vec<WorkItem> =
        sequences.iter().map(|s| WorkItem { sequence: s.clone(), want: Want::SpanScores }).collect();
    let items: Vec<&WorkItem> = items.iter().collect();
    executor
        .run(&items)
        .into_iter()
        .map(|output| match output {
            Ok(Output::SpanScores(scores)) => scores,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// The logits of stretches that are there.
fn there(scores: &SpanScores) -> Vec<f32> {
    let Some(width) = scores.width else { return scores.values.clone() };
    let rows = scores.values.chunks_exact(scores.labels).enumerate();
    rows.filter(|(row, _)| row / width + row % width < scores.words).flat_map(|(_, row)| row.to_vec()).collect()
}

#[test]
fn texts_are_read_as_the_package_reads_them() {
    for name in MODELS {
        let (model, _) = open(name);
        for case in cases(name) {
            let made = sequence(&model, &case.text, &case.labels);
            assert_eq!(made.ids, case.ids, "{name}: {:?}", case.text);
            let words: Vec<&str> =
                made.places.as_ref().unwrap().words.iter().map(|word| &case.text[word.start..word.end]).collect();
            assert_eq!(words, case.words, "{name}");
        }
    }
}

#[test]
fn logits_are_the_packages() {
    for name in MODELS {
        let (model, mut executor) = open(name);
        let mut most = 0.0_f32;
        for case in cases(name) {
            let scores = run(&mut executor, &[sequence(&model, &case.text, &case.labels)]).remove(0);
            let got = there(&scores);
            assert_eq!(got.len(), case.logits.len(), "{name}");
            let largest = case.logits.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
            most = got.iter().zip(&case.logits).map(|(g, w)| (g - w).abs() / largest).fold(most, f32::max);
        }
        println!("{name}: off by {most:e}");
        assert!(most <= CLOSE, "{name}: off by {most}");
    }
}

#[test]
fn spans_are_those_that_the_package_chooses() {
    let mut compared = 0;
    for name in MODELS {
        let (model, mut executor) = open(name);
        for case in cases(name) {
            let made = sequence(&model, &case.text, &case.labels);
            let words = made.places.clone().unwrap().words.clone();
            let scores = run(&mut executor, &[made]).remove(0);
            for ChosenAnswer { threshold, nested, multi_label, spans } in case.answers {
                let rules = SpanRules { threshold, nested, multi_label };
                let got = scores.spans(&rules).unwrap();
                let places: Vec<_> = got.iter().map(|s| (words[s.first].start, words[s.last].end, s.label)).collect();
                let want: Vec<_> = spans.iter().map(|&(start, end, label, _)| (start, end, label)).collect();
                assert_eq!(places, want, "{name}: {:?} by {rules:?}", case.text);
                assert!(got.iter().zip(&spans).all(|(g, w)| (g.score - w.3).abs() <= CLOSE), "{name}");
                compared += want.len();
            }
        }
    }
    assert!(compared > 2000, "{compared}");
}

#[test]
fn a_texts_scores_do_not_depend_on_its_batch() {
    for name in MODELS {
        let (model, mut executor) = open(name);
        // Some with one word or one label: their products have one row where they run alone.
        let mut all: Vec<Sequence> =
            cases(name).iter().map(|case| sequence(&model, &case.text, &case.labels)).collect();
        all.push(sequence(&model, "", &["place".to_owned()]));
        all.push(sequence(&model, " \n", &["place".to_owned(), "person".to_owned()]));
        let together = run(&mut executor, &all);
        for (alone, in_batch) in all.iter().zip(&together) {
            assert_eq!(&run(&mut executor, std::slice::from_ref(alone))[0], in_batch, "{name}");
        }
    }
}

#[test]
fn a_text_without_words_has_no_spans() {
    let (model, mut executor) = open("deberta-lstm");
    let scores = run(&mut executor, &[sequence(&model, " \t", &["place".to_owned()])]).remove(0);
    assert_eq!((scores.words, scores.labels, scores.values.len()), (0, 1, 0));
    assert_eq!(scores.spans(&SpanRules::default()), Ok(Vec::new()));
}

/// A lone accent, which BERT's normalizer takes away. The package counts on, and has the words behind it off by one.
#[test]
fn a_word_without_a_token_is_none() {
    let (model, mut executor) = open("bert-tokens");
    let labels = ["place".to_owned(), "person".to_owned()];
    let [with, without] = ["ada \u{301} paris", "ada paris"].map(|text| sequence(&model, text, &labels));
    let places: Vec<_> = with.places.as_ref().unwrap().words.iter().map(|w| (w.start, w.end)).collect();
    assert_eq!((&with.ids, places), (&without.ids, vec![(0, 3), (7, 12)]));
    let scores = run(&mut executor, &[with, without]);
    assert_eq!(scores[0], scores[1]);
}

#[test]
fn labels_are_checked() {
    let (model, _) = open("deberta-lstm");
    let tokenizer = model.tokenizer();
    let prompt = |labels: &[&str]| tokenizer.label_prompt(&labels.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>());
    assert_eq!(prompt(&["place", "date", "place"]).unwrap().labels(), ["place", "date"]);
    let long = "x".repeat(sortie_engine::MAX_LABEL_BYTES + 1);
    let many: Vec<String> = (0..=sortie_engine::MAX_LABELS).map(|i| format!("l{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (labels, why) in [
        (&[][..], "there are 0, not from 1 to 256"),
        (&many, "there are 257, not from 1 to 256"),
        (&["place", &long], "label 1 has 513 bytes, at most 512"),
        (&[""], "label 0 has no token"),
        (&["a <<ENT>> b"], "label 0 holds a special token"),
        (&["[SEP]"], "label 0 holds a special token"),
    ] {
        let error = prompt(labels).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(matches!(error, InputError::BadOption { option: "labels", .. }));
    }
    let fixed = Model::open(&archived("families").join("deberta-v2-tokens5"), &options()).unwrap();
    let error = fixed.tokenizer().label_prompt(&["place".to_owned()]).unwrap_err().to_string();
    assert!(error.contains("labels of its own"), "{error}");
}

#[test]
fn a_text_that_is_too_long_is_refused_or_cut_at_a_word() {
    let (model, mut executor) = open("deberta-lstm");
    let tokenizer = model.tokenizer();
    let prompt = tokenizer.label_prompt(&["place".to_owned()]).unwrap();
    let read =
        |words: usize, options: &EncodeOptions| tokenizer.encode_labelled(&prompt, &"paris ".repeat(words), options);
    let whole = EncodeOptions { truncation: Truncation::Error, ..EncodeOptions::default() };
    // max_len of the folder.
    assert_eq!(read(48, &whole).unwrap().places.unwrap().words.len(), 48);
    assert_eq!(read(49, &whole), Err(InputError::TooManyWords { words: 49, limit: 48 }));
    let cut = read(60, &EncodeOptions::default()).unwrap();
    assert!(cut.truncated && cut.places.as_ref().unwrap().words.len() == 48);
    assert_eq!(run(&mut executor, &[cut])[0].words, 48);
    let limit = prompt.tokens() + 2 + 10;
    let short = EncodeOptions { max_length: Some(limit), ..EncodeOptions::default() };
    let cut = read(20, &short).unwrap();
    assert!(cut.truncated && cut.len() <= limit && cut.places.unwrap().words.len() <= 10);
    let refused = read(20, &EncodeOptions { max_length: Some(limit), ..whole }).unwrap_err();
    assert!(matches!(refused, InputError::TooLong { .. }), "{refused}");
    let none = EncodeOptions { max_length: Some(prompt.tokens()), ..whole };
    assert!(read(1, &none).unwrap_err().to_string().contains("no room for a text"));
}

/// The folder with one value of its file changed.
fn changed(key: &str, value: serde_json::Value) -> Result<Model, LoadError> {
    let (from, to) = (folder("deberta-lstm"), tempfile::tempdir().unwrap());
    for file in std::fs::read_dir(&from).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
    }
    let path = to.path().join("gliner_config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    std::fs::write(&path, config.to_string()).unwrap();
    Model::open(to.path(), &options()).and_then(|model| Executor::new(&model).map(|_| model))
}

#[test]
fn what_is_not_served_is_refused_by_name() {
    use serde_json::json;
    for (key, value, why) in [
        ("labels_encoder", json!("BAAI/bge-small-en-v1.5"), "an encoder of its own for labels"),
        ("labels_decoder", json!("gpt2"), "a decoder that writes labels"),
        ("relations_layer", json!("dot"), "relations between entities"),
        ("model_type", json!("gliner_streaming_span"), "as it comes"),
        ("span_mode", json!("markerV1"), "markerV0 and token_level are"),
        ("span_mode", json!("conv_share"), "markerV0 and token_level are"),
        ("subtoken_pooling", json!("mean"), "subtoken_pooling"),
        ("words_splitter_type", json!("spacy"), "words_splitter_type"),
        ("post_fusion_schema", json!("l2l-l2t-t2t"), "post_fusion_schema"),
        ("fuse_layers", json!(true), "fuse_layers"),
        ("represent_spans", json!(true), "represent_spans"),
        ("precomputed_prompts_mode", json!(true), "precomputed_prompts_mode"),
        ("span_encoder_config", json!({"model_type": "rnn"}), "span_encoder_config"),
        ("encoder_config", json!(null), "save_pretrained("),
        ("encoder_config", json!({"model_type": "t5"}), "bert, deberta-v2, modernbert are"),
        ("class_token_index", json!(3), "class_token_index is 3"),
        ("ent_token", json!("[LABEL]"), "is no token of tokenizer.json"),
        ("has_rnn", json!(false), "has_rnn is false, num_rnn_layers 1"),
        ("max_width", json!(0), "max_width is 0"),
        ("num_rnn_layers", json!(2), "rnn.lstm.weight_ih_l1 is missing"),
    ] {
        let error = changed(key, value.clone()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(why), "{key} {value}: {error}");
    }
}
