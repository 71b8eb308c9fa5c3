//! What a model's activations are like, from a run in f32 on the processor at load.
//!
//! Needed where a model is to run in f16 with GELU inside the product, whose form is that by tanh: the two
//! things that then move a score most can be undone without a cost to any run.
//! - *GELU*: `gelu(z) − tanh form(z)` is up to 5e-4 and even in `z`, so it does not cancel. Its mean
//!   for each column goes through the next weight into the next bias ([`LayerFacts::put_back`]).
//! - *Rounding* of the first feed-forward weight: see [`super::rounding`].
//!
//! The run's ids are drawn evenly from the whole vocabulary with a fixed seed: no text is needed, and what it
//! gives holds for text (measured in docs/benchmarks.md). Every second sequence says one id again and again: its states
//! are unlike those of the others, and in such a text no token's error averages another's away.

use std::thread;

use ort::session::Session;

use super::{
    super::{
        NativeModel,
        family::Pointwise,
        graph::{self, Wanted},
        run::{HostTensor, INPUTS, PackedInputs, Rows, WrittenGraph, commit, tensors, threads},
    },
    Calibration, LayerFacts,
    rounding::RoundingPlan,
};
use crate::{
    device::Device,
    error::LoadError,
    item::Sequence,
    onnx::{Builder, Elem, MICROSOFT, ONNX, Size, Target},
    options::LoadOptions,
    runtime::session::{Ready, refused},
};

/// Lengths of the sequences that are run, where the model allows them: a few of each kind of text.
const LENGTHS: [usize; 14] = [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384];

/// What part of a sequence is its first segment, where the model has two: queries are shorter than documents.
const FIRST_SEGMENT: usize = 5;

/// Runs the model once on the processor.
pub(crate) fn calibrate(model: &NativeModel, options: &LoadOptions) -> Result<Calibration, LoadError> {
    let bad = refused(&model.folder);
    let e = &model.encoder;
    let mut b = Builder::new(Target::Cpu);
    graph::encoder(&mut b, e, &model.weights, Wanted::All, None)?;
    let (inner, act) = e.plain_feed_forward().unwrap_or((0, Pointwise::Relu));
    let exact = act == Pointwise::Gelu;
    for i in 0..e.layers.len() {
        let at = |part: &str| format!("layer{i}/{part}");
        b.output(&at(NORMED), Elem::F32, &[Size::Named("tokens"), Size::Of(e.hidden)]);
        if exact {
            let tanh = b.node(MICROSOFT, "FastGelu", &at("tanh"), &[&at("up"), &at("up_bias")], &[]);
            let less = b.node(ONNX, "Sub", &at("less"), &[&at("up_activated"), &tanh], &[]);
            let axis = b.integers("tokens_axis", &[0]);
            b.node(ONNX, "ReduceSum", &at(DRIFT), &[&less, &axis], &[]);
            b.output(&at(DRIFT), Elem::F32, &[Size::Of(1), Size::Of(inner)]);
        }
    }
    let (proto, weights) = b.finish();
    // A profile that is asked for is of the model's own session.
    let options = LoadOptions { profile: None, ..options.clone() };
    let ready = Ready::new(&options, Device::Cpu, &model.folder, true)?;
    let graph = WrittenGraph::new(&proto, weights).map_err(&bad)?;
    let mut session = commit(ready.builder, Target::Cpu, options.threads, None, &graph, &model.folder)?;
    let flat = made_up(model);
    let tokens = flat.ids.len();
    let given = run(&mut session, flat).map_err(&bad)?;
    drop(session);
    let read = |name: String| given.iter().find(|(there, _)| *there == name).map_or(&[][..], |(_, v)| v.as_slice());
    // As many as the model's own runs may use.
    let threads = threads(options.threads);
    let layer = |i: usize| LayerFacts {
        up: RoundingPlan::of(read(format!("layer{i}/{NORMED}")), e.hidden, threads),
        drift: read(format!("layer{i}/{DRIFT}")).iter().map(|d| d / tokens.max(1) as f32).collect(),
    };
    // A plan takes a core a while, and layers do not depend on each other.
    let planners = threads.min(e.layers.len().max(1));
    let mut layers: Vec<(usize, LayerFacts)> = thread::scope(|scope| {
        let share = |t: usize| {
            let layer = &layer;
            move || (t..e.layers.len()).step_by(planners).map(|i| (i, layer(i))).collect::<Vec<_>>()
        };
        let running: Vec<_> = (0..planners).map(|t| scope.spawn(share(t))).collect();
        running.into_iter().filter_map(|r| r.join().ok()).flatten().collect()
    });
    layers.sort_by_key(|(i, _)| *i);
    if layers.len() != e.layers.len() {
        return Err(LoadError::Runtime("a thread that calibrates ended early".into()));
    }
    Ok(Calibration { layers: layers.into_iter().map(|(_, facts)| facts).collect() })
}

/// Edges that are read, within a layer.
const NORMED: &str = "attended_normed";
const DRIFT: &str = "drift";

/// Sequences of made-up ids.
fn made_up(model: &NativeModel) -> PackedInputs {
    let e = &model.encoder;
    let mut state = 7_u64;
    let mut id = || {
        // Knuth's MMIX generator; its high bits are good enough to pick ids.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((state >> 33) % e.vocab.max(1) as u64).unwrap_or(0)
    };
    let sequences: Vec<Sequence> = LENGTHS
        .into_iter()
        .filter(|&n| n <= e.longest)
        .enumerate()
        .map(|(i, n)| {
            let first = (n / FIRST_SEGMENT).max(1);
            let mut ids: Vec<u32> = (0..n).map(|_| id()).collect();
            if i % 2 == 0 {
                let one = id();
                ids.iter_mut().skip(first).for_each(|there| *there = one);
            }
            let second = |t: usize| u32::from(e.segments() > 1 && t >= first);
            Sequence { ids, type_ids: (0..n).map(second).collect(), ..Sequence::default() }
        })
        .collect();
    PackedInputs::pack(&sequences, e.numbering())
}

fn run(session: &mut Session, flat: PackedInputs) -> ort::Result<Vec<(String, Vec<f32>)>> {
    let takes = |name: &&str| session.inputs().iter().any(|i| i.name() == *name);
    let names: Vec<_> = INPUTS.into_iter().filter(takes).collect();
    let longest = flat.lengths().max().unwrap_or(1);
    let inputs = tensors(flat, &names, longest, &[], Rows::Tokens);
    let inputs = inputs.into_iter().map(HostTensor::into_value).collect::<ort::Result<Vec<_>>>()?;
    let given = session.run(inputs)?;
    given.iter().map(|(name, v)| Ok((name.to_owned(), v.try_extract_tensor::<f32>()?.1.to_vec()))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        model::Model,
        native::run::{SessionShape, write},
        onnx::SortieOperators,
        open::ServedBy,
    };

    fn open(name: &str) -> Model {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/tiny").join(name);
        Model::open(&folder, &LoadOptions::default()).unwrap()
    }

    fn native(model: &Model) -> &NativeModel {
        match model.served_by() {
            ServedBy::Native(native) => native,
            _ => panic!("not native"),
        }
    }

    #[test]
    fn drift_is_small_and_there_for_exact_gelu_alone() {
        let model = open("bert-rerank");
        let facts = calibrate(native(&model), &LoadOptions::default()).unwrap();
        let e = &native(&model).encoder;
        assert_eq!(facts.layers.len(), e.layers.len());
        let (inner, _) = e.plain_feed_forward().unwrap();
        for layer in &facts.layers {
            assert_eq!(layer.drift.len(), inner);
            assert!(layer.drift.iter().all(|d| d.abs() < 1e-3), "more than the two forms differ by");
            assert!(layer.drift.iter().any(|d| *d != 0.0));
        }
        let relu = open("bert-rerank-relu");
        let facts = calibrate(native(&relu), &LoadOptions::default()).unwrap();
        assert!(facts.layers.iter().all(|l| l.drift.is_empty()));
    }

    #[test]
    fn a_model_is_run_once_for_all_its_sessions() {
        let model = open("bert-rerank");
        let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
        let of = |_| native(&model).calibration(&options).unwrap();
        let all: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = (0..3).map(|i| scope.spawn(move || of(i))).collect();
            running.into_iter().map(|r| r.join().unwrap()).collect()
        });
        assert!(all.iter().all(|one| Arc::ptr_eq(one, &all[0])));
    }

    #[test]
    fn what_is_put_back_is_what_the_next_product_makes_of_the_drift() {
        let facts = LayerFacts { up: RoundingPlan::of(&[], 3, 1), drift: vec![1.0, -2.0, 0.5] };
        let mut bias = vec![10.0, 20.0];
        facts.put_back(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut bias);
        assert_eq!(bias, [10.0 + 1.0 - 6.0 + 2.5, 20.0 + 2.0 - 8.0 + 3.0]);
    }

    #[test]
    fn only_what_is_rounded_with_the_facts_changes() {
        let model = open("bert-rerank");
        let facts = calibrate(native(&model), &LoadOptions::default()).unwrap();
        let target = Target::Cuda(crate::device::Precision::F16);
        let with = |facts| {
            write(native(&model), target, &SessionShape { own: SortieOperators::ALL, facts, kept: None }).unwrap().1
        };
        let (plain, known) = (with(None), with(Some(Arc::new(facts))));
        for (a, b) in plain.iter().zip(&known) {
            let may = a.name.ends_with("/up_weight") || a.name.ends_with("/down_bias");
            assert!(may || format!("{:?}", a.data) == format!("{:?}", b.data), "{}", a.name);
            assert!(
                !a.name.ends_with("/up_weight") || format!("{:?}", a.data) != format!("{:?}", b.data),
                "{}",
                a.name
            );
        }
    }
}
