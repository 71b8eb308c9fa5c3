//! The generic path over the tiny graphs of `tests/data`, whose numbers can be
//! worked out by hand: see `make_graphs.py` there.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use proptest::prelude::*;

use super::*;
use crate::{
    device::Device,
    error::LoadError,
    executor::one_by_one,
    folder::{Folder, Routes, config::Config},
    item::{EmbedSpec, ItemFault, Output, Sequence, Want, WorkItem},
    options::LoadOptions,
    task::{Pooling, Problem, Task},
};

const MEAN: Want =
    Want::Embedding(EmbedSpec { pooling: Some(Pooling::Mean), normalize: Some(false), dimensions: None });
const CLS: Want = Want::Embedding(EmbedSpec { pooling: Some(Pooling::Cls), normalize: Some(false), dimensions: None });

fn graph(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(format!("{name}.onnx"))
}

fn config() -> Config {
    // A pad id whose state is loud, so that padding which leaks is seen.
    Config { pad_token_id: Some(9), vocab_size: Some(10), ..Config::default() }
}

fn open_with(name: &str, config: &Config, said: Option<Task>) -> Result<GenericModel, LoadError> {
    let path = graph(name);
    open_at(&path, config, said, &LoadOptions::default())
}

/// Opens the graph at `path` as a folder with this configuration and nothing else would have it.
fn open_at(path: &Path, config: &Config, said: Option<Task>, options: &LoadOptions) -> Result<GenericModel, LoadError> {
    let empty = tempfile::tempdir().unwrap();
    let mut folder = Folder::read(empty.path(), options).unwrap();
    folder.config = config.clone();
    let routes = std::mem::replace(&mut folder.routes, Routes::empty());
    GenericModel::open(path, &folder, Arc::new(routes), said, options)
}

fn open(name: &str) -> GenericModel {
    open_with(name, &config(), None).unwrap()
}

fn start(model: &GenericModel) -> GenericExecutor {
    let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
    GenericExecutor::new(model, &options, Device::Cpu).unwrap()
}

/// The way a GPU runs it, with the processor in the GPU's place.
fn start_bound(model: &GenericModel) -> GenericExecutor {
    let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
    GenericExecutor::load(model, &options, Device::Cpu, true).unwrap()
}

fn item(ids: &[u32], want: Want) -> WorkItem {
    WorkItem { sequence: Sequence { ids: ids.to_vec(), ..Sequence::default() }, want }
}

fn run(executor: &mut GenericExecutor, items: &[WorkItem]) -> Vec<Result<Output, ItemFault>> {
    let host = executor.host();
    one_by_one(&items.iter().collect::<Vec<_>>(), &mut |part| {
        executor.run(host.prepare(part)).map(|raw| host.finish(part, raw))
    })
}

/// The mean of the states of `ids`: what the graphs pool to.
fn mean(ids: &[u32]) -> [f32; 4] {
    #[expect(clippy::cast_precision_loss, reason = "tiny numbers")]
    let m = ids.iter().sum::<u32>() as f32 / ids.len() as f32;
    [m, -m, m / 2.0, 1.0]
}

#[track_caller]
fn close(got: &Result<Output, ItemFault>, want: &[f32]) {
    let Ok(Output::Embedding(got) | Output::Logits(got) | Output::TokenLogits(got)) = got else { panic!("{got:?}") };
    assert_eq!(got.len(), want.len(), "{got:?} {want:?}");
    assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() <= 2e-3 * w.abs().max(1.0)), "{got:?} {want:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// In whatever company, each item gets its own answer in its own place.
    #[test]
    fn padding_and_batch_mates_change_nothing(texts in prop::collection::vec(prop::collection::vec(0u32..10, 1..40), 1..24)) {
        // Token states are table + mean, so their mean is twice the mean; a pooled one is the mean.
        for (name, times) in [("states", 2.0), ("ugly", 1.0), ("no_mask", 2.0)] {
            let items: Vec<_> = texts.iter().map(|t| item(t, MEAN)).collect();
            for mut executor in [start(&open(name)), start_bound(&open(name))] {
                for (text, answer) in texts.iter().zip(run(&mut executor, &items)) {
                    close(&answer, &mean(text).map(|x| x * times));
                }
            }
        }
    }

    /// Bound to the device and pooled there, or whole states pooled here: the same answers.
    #[test]
    fn what_is_pooled_on_the_device_is_what_the_host_would_pool(
        texts in prop::collection::vec((prop::collection::vec(0u32..10, 1..40), 0usize..4), 1..12),
        alike in any::<bool>(),
    ) {
        let poolings = [Pooling::Mean, Pooling::Cls, Pooling::Last, Pooling::Max];
        let own = poolings[texts[0].1];
        let want = |at: usize| {
            let pooling = if alike { own } else { poolings[at] };
            Want::Embedding(EmbedSpec { pooling: Some(pooling), normalize: Some(false), dimensions: None })
        };
        let items: Vec<_> = texts.iter().map(|(ids, at)| item(ids, want(*at))).collect();
        for name in ["states", "no_mask"] {
            let model = open(name);
            let options = LoadOptions { threads: Some(1), pooling: Some(own), ..LoadOptions::default() };
            let mut bound = GenericExecutor::load(&model, &options, Device::Cpu, true).unwrap();
            for (got, want) in run(&mut bound, &items).iter().zip(run(&mut start(&model), &items)) {
                let Ok(Output::Embedding(want)) = want else { panic!("{want:?}") };
                close(got, &want);
            }
        }
    }

    #[test]
    fn a_graph_of_one_size_is_filled_up(texts in prop::collection::vec(prop::collection::vec(0u32..10, 1..7), 1..9)) {
        let mut executor = start(&open("fixed"));
        let items: Vec<_> = texts.iter().map(|t| item(t, Want::Logits)).collect();
        for (text, answer) in texts.iter().zip(run(&mut executor, &items)) {
            close(&answer, &mean(text)[..3]);
        }
    }

    #[test]
    fn only_the_poison_fails(texts in prop::collection::vec(prop::collection::vec(prop::sample::select(vec![1u32, 2, 3, 7, 8]), 1..4), 1..12)) {
        let mut executor = start(&open("tags"));
        let items: Vec<_> = texts.iter().map(|t| item(t, Want::TokenLogits)).collect();
        for (text, answer) in texts.iter().zip(run(&mut executor, &items)) {
            if text.contains(&7) {
                prop_assert!(matches!(answer, Err(ItemFault::Run(_))), "{:?} {:?}", text, answer);
            } else if text.contains(&8) {
                prop_assert_eq!(answer, Err(ItemFault::NonFinite));
            } else {
                let want: Vec<f32> = text.iter().flat_map(|&id| mean(&[id])[..3].to_vec()).collect();
                close(&answer, &want);
            }
        }
    }
}

#[test]
fn facts_are_read_from_the_file() {
    let model = open_with("states", &Config::default(), None).unwrap();
    assert_eq!((model.vocab(), model.dimensions(), model.longest()), (10, 4, 512));
    assert_eq!(*model.task(), Task::Embedding);
    assert_eq!(open("fixed").longest(), 6);
    assert_eq!(open("tags").task().labels().len(), 3);
    assert_eq!(*open("masked_lm").task(), Task::SparseEmbedding);
}

#[test]
fn segments_reach_the_graph() {
    let mut executor = start(&open("states"));
    let mut pair = item(&[1, 2, 3], MEAN);
    pair.sequence.type_ids = vec![0, 1, 1];
    // A longer batch-mate, so that the pair is padded.
    let answers = run(&mut executor, &[item(&[4; 9], CLS), pair]);
    close(&answers[1], &mean(&[1, 2, 3]).map(|x| 2.0 * x + 0.25 * 2.0 / 3.0));
    close(&answers[0], &mean(&[4]).map(|x| 2.0 * x));
}

#[test]
fn states_of_another_shape_are_refused_wherever_they_are_pooled() {
    for name in ["one_row", "one_token"] {
        for pooling in [Pooling::Mean, Pooling::Last, Pooling::Max] {
            let model = open(name);
            let options = LoadOptions { threads: Some(1), pooling: Some(pooling), ..LoadOptions::default() };
            let want = Want::Embedding(EmbedSpec { pooling: Some(pooling), normalize: Some(false), dimensions: None });
            let items = [item(&[1; 4], want), item(&[2; 4], want), item(&[3; 4], want)];
            let host = run(&mut start(&model), &items);
            assert!(matches!(&host[0], Err(ItemFault::Run(why)) if why.contains("has the shape")), "{host:?}");
            let mut bound = GenericExecutor::load(&model, &options, Device::Cpu, true).unwrap();
            assert_eq!(run(&mut bound, &items), host, "{name} {pooling:?}");
        }
    }
}

#[test]
fn tokens_that_do_not_count_need_not_be_finite() {
    let last = Want::Embedding(EmbedSpec { pooling: Some(Pooling::Last), normalize: Some(false), dimensions: None });
    let items = [item(&[1, 8, 2], CLS), item(&[8, 8, 2], last), item(&[1, 8, 2], MEAN), item(&[1, 2, 8], last)];
    for mut executor in [start(&open("infinite")), start_bound(&open("infinite"))] {
        let answers = run(&mut executor, &items);
        close(&answers[0], &mean(&[1]));
        close(&answers[1], &mean(&[2]));
        assert_eq!(answers[2..], [Err(ItemFault::NonFinite), Err(ItemFault::NonFinite)]);
    }
}

#[test]
fn weights_may_lie_in_a_file_beside_it() {
    let mut executor = start(&open("external"));
    close(&run(&mut executor, &[item(&[5], MEAN)])[0], &mean(&[5]).map(|x| 2.0 * x));
}

#[test]
fn a_shape_the_file_leaves_open_is_asked_of_the_runtime() {
    let model = open("open_shape");
    assert_eq!(model.dimensions(), 4);
    close(&run(&mut start(&model), &[item(&[5], MEAN)])[0], &mean(&[5]).map(|x| 2.0 * x));
}

#[test]
fn positions_start_where_the_family_starts_them() {
    let one = Some(Task::SequenceClassification { labels: vec!["score".to_owned()], problem: Problem::SingleLabel });
    for (model_type, first) in [("bert", 0.0), ("xlm-roberta", 2.0)] {
        let config = Config {
            model_type: model_type.to_owned(),
            pad_token_id: Some(1),
            vocab_size: Some(10),
            ..Config::default()
        };
        let model = open_with("positions", &config, one.clone()).unwrap();
        let answers = run(&mut start(&model), &[item(&[4; 3], Want::Logits), item(&[4; 5], Want::Logits)]);
        close(&answers[0], &[3.0 + 3.0 * first]);
        close(&answers[1], &[10.0 + 5.0 * first]);
    }
}

#[test]
fn sparse_vectors_from_logits_and_from_finished_weights() {
    let items = [item(&[7, 9, 1], Want::Sparse), item(&[2], Want::Sparse)];
    let logits = run(&mut start(&open("masked_lm")), &items);
    assert_eq!(logits, [Ok(Output::Sparse(vec![(7, 3f32.ln()), (9, 5f32.ln())])), Ok(Output::Sparse(vec![]))]);
    assert_eq!(run(&mut start_bound(&open("masked_lm")), &items), logits);
    let sparse = open_with("sparse", &config(), Some(Task::SparseEmbedding)).unwrap();
    let finished = run(&mut start(&sparse), &items);
    assert_eq!(finished, [Ok(Output::Sparse(vec![(7, 2.0), (9, 4.0)])), Ok(Output::Sparse(vec![]))]);
}

#[test]
fn what_does_not_suit_the_model_is_that_items_fault() {
    let mut executor = start(&open_with("states", &Config { type_vocab_size: Some(2), ..config() }, None).unwrap());
    let mut segments = item(&[1, 2], MEAN);
    segments.sequence.type_ids = vec![0, 5];
    let mut uneven = item(&[1, 2], MEAN);
    uneven.sequence.type_ids = vec![0];
    let bad = [item(&[1, 10], MEAN), item(&[], MEAN), item(&[1; 513], MEAN), segments, uneven];
    let mut items = bad.to_vec();
    items.push(item(&[1], Want::Logits));
    items.push(item(&[6], MEAN));
    let answers = run(&mut executor, &items);
    for answer in &answers[..5] {
        assert!(matches!(answer, Err(ItemFault::BadSequence(_))), "{answer:?}");
    }
    assert_eq!(answers[5], Err(ItemFault::WrongWant("label scores")));
    close(&answers[6], &mean(&[6]).map(|x| 2.0 * x));
}

#[test]
fn a_graph_that_pools_takes_no_other_pooling() {
    let mut executor = start(&open("ugly"));
    assert!(matches!(run(&mut executor, &[item(&[1], CLS)])[0], Err(ItemFault::WrongWant(_))));
    let options = LoadOptions { pooling: Some(Pooling::Cls), ..LoadOptions::default() };
    let refused = open_at(&graph("ugly"), &config(), None, &options);
    assert!(refused.unwrap_err().to_string().contains("pooled inside"));
}

#[test]
fn refusals_name_the_file_and_the_reason() {
    let labels = |n: usize| Some(Task::TokenClassification { labels: vec![String::new(); n] });
    let four = Config { num_labels: Some(4), ..config() };
    let vocab = Config { vocab_size: Some(11), ..config() };
    let pad = Config { pad_token_id: Some(10), ..config() };
    for (name, config, said, want) in [
        ("unknown_input", &config(), None, "unknown_input.onnx: input \"pixel_values\""),
        ("tags", &four, labels(4), "[batch, sequence, 4]"),
        ("states", &vocab, None, "vocab_size is 11"),
        ("states", &pad, None, "pad id 10"),
    ] {
        let message = open_with(name, config, said).unwrap_err().to_string();
        assert!(message.contains(want), "{message}");
    }
}

#[test]
fn broken_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    let open = || {
        let said = Some(Task::Embedding);
        open_at(&path, &config(), said, &LoadOptions::default())
    };
    let refused = || open().unwrap_err().to_string();

    assert!(refused().contains("cannot read") && refused().contains("model.onnx"), "{}", refused());
    let whole = std::fs::read(graph("external")).unwrap();
    std::fs::write(&path, b"").unwrap();
    assert!(refused().contains("no graph") || refused().contains("cannot read"), "{}", refused());
    std::fs::write(&path, b"not an ONNX file at all").unwrap();
    assert!(refused().contains("model.onnx: not a whole ONNX model"), "{}", refused());
    for cut in [1, 40, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(refused().contains("model.onnx: not a whole ONNX model"), "{cut}: {}", refused());
    }
    std::fs::write(&path, &whole).unwrap();
    assert!(refused().contains("external.onnx_data"), "{}", refused());
    let data = std::fs::read(graph("external").with_extension("onnx_data")).unwrap();
    std::fs::write(dir.path().join("external.onnx_data"), &data[..data.len() - 1]).unwrap();
    assert!(refused().contains("external.onnx_data") && refused().contains("ends at byte"), "{}", refused());
    std::fs::write(dir.path().join("external.onnx_data"), &data).unwrap();
    open().unwrap();
}
