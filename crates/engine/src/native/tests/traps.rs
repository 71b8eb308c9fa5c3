//! Mistakes that families invite, made one by one in the description of an oracle's folder: its answers must then be others. So
//! what the oracles hold is shown to depend on each piece.

use super::{
    archived, native_of,
    numbers::{cases_of, numbers, run},
};
use crate::{
    device::Device,
    item::Want,
    native::{
        NativeExecutor, NativeModel,
        family::{
            Attention, Distances, Encoder, Experts, FeedForward, Layer, Norm, NormKind, Norms, Pointwise, Reads, Sight,
            Taken, plain_scale,
        },
    },
    onnx::Target,
    options::LoadOptions,
};

/// The bound of the oracle's tests: how far an answer may be off, of its row's largest number.
const CLOSE: f32 = 1e-4;

/// How far the answers of a model are off at most, of a row's largest number.
fn off(model: &NativeModel, folder: &str) -> f32 {
    let all = cases_of(&archived(folder));
    let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
    let mut executor = NativeExecutor::load(model, &options, Device::Cpu, Target::Cpu).unwrap();
    let largest = |row: &[f32]| row.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    // One logit alone may be next to nothing.
    let logits = all.iter().filter(|(item, _)| item.want == Want::Logits);
    let of_all = logits.map(|(_, row)| largest(row)).fold(0.0_f32, f32::max);
    let mut most = 0.0_f32;
    for (item, row) in &all {
        let got = numbers(&run(&mut executor, &[item]).remove(0));
        let scale = largest(row).max(of_all);
        most = got.iter().zip(row).map(|(g, w)| (g - w).abs() / scale).fold(most, f32::max);
    }
    most
}

/// What is done wrong, and what makes it so.
type Mistake = (&'static str, fn(&mut Encoder));

/// The folder is right as it is, and wrong with each of these mistakes.
fn shows(folder: &str, mistakes: &[Mistake]) {
    let right = off(&native_of(&archived(folder)), folder);
    assert!(right <= CLOSE, "{folder} is off by {right}");
    for (mistake, make) in mistakes {
        let mut model = native_of(&archived(folder));
        make(&mut model.encoder);
        let wrong = off(&model, folder);
        assert!(wrong > CLOSE, "{folder} does not show {mistake}: off by {wrong}");
    }
}

fn attentions(e: &mut Encoder) -> impl Iterator<Item = &mut Attention> {
    e.layers.iter_mut().map(|layer| &mut layer.attention)
}

fn halves_swapped(e: &mut Encoder) {
    for layer in &mut e.layers {
        if let FeedForward::Gated { gate, up, .. } = &mut layer.feed_forward {
            std::mem::swap(gate, up);
        }
    }
}

fn tanh_gelu(e: &mut Encoder) {
    for layer in &mut e.layers {
        let act = match &mut layer.feed_forward {
            FeedForward::Gated { act, .. } | FeedForward::Plain { act, .. } => act,
            FeedForward::Experts(experts) => &mut experts.act,
        };
        *act = if *act == Pointwise::Gelu { Pointwise::GeluTanh } else { Pointwise::Gelu };
    }
}

fn no_key_bias(e: &mut Encoder) {
    attentions(e).for_each(|a| a.key.bias = None);
}

fn no_rotation(e: &mut Encoder) {
    attentions(e).for_each(|a| a.rope = None);
}

fn rotations_swapped(e: &mut Encoder) {
    let of = |e: &Encoder, all: bool| {
        e.layers.iter().map(|l| &l.attention).find(|a| (a.sight == Sight::All) == all).and_then(|a| a.rope.clone())
    };
    let (full, window) = (of(e, true), of(e, false));
    attentions(e).for_each(|a| a.rope = if a.sight == Sight::All { window.clone() } else { full.clone() });
}

fn windows(e: &mut Encoder, change: impl Fn(usize) -> usize) {
    for a in attentions(e) {
        if let Sight::Window(radius) = &mut a.sight {
            *radius = change(*radius);
        }
    }
}

fn sees_all(e: &mut Encoder) {
    attentions(e).for_each(|a| a.sight = Sight::All);
}

fn no_distances(e: &mut Encoder) {
    attentions(e).for_each(|a| a.distances = None);
}

fn scale_of_the_size(e: &mut Encoder) {
    attentions(e).for_each(|a| a.scale = plain_scale(a.size));
}

fn no_segments(e: &mut Encoder) {
    e.embedding.segments = None;
}

fn no_last_norm(e: &mut Encoder) {
    e.last_norm = None;
}

fn no_head_norms(e: &mut Encoder) {
    attentions(e).for_each(|a| a.query_key_norm = None);
}

/// The first key head serves the queries of the second.
fn keys_paired_wrongly(e: &mut Encoder) {
    for a in attentions(e) {
        let rows = a.kv_heads * a.size;
        let turned: Vec<usize> = (0..rows).map(|row| (row + a.size) % rows).collect();
        for product in [&mut a.key, &mut a.value] {
            product.weight.taken = Taken::Each(turned.clone());
            if let Some(bias) = &mut product.bias {
                bias.taken = Taken::Each(turned.clone());
            }
        }
    }
}

fn vectors(e: &mut Encoder, change: impl Fn(&mut crate::native::family::DistanceVectors)) {
    for a in attentions(e) {
        if let Some(Distances::Vectors(vectors)) = &mut a.distances {
            change(vectors);
        }
    }
}

fn norms(e: &mut Encoder, change: impl Fn(&mut Norm)) {
    for Layer { norms, .. } in &mut e.layers {
        match norms {
            Norms::Post { attention, feed_forward } => [attention, feed_forward].into_iter().for_each(&change),
            Norms::Pre { attention, feed_forward, given } => {
                attention.iter_mut().for_each(&change);
                change(feed_forward);
                given.iter_mut().for_each(|g| [&mut g.attention, &mut g.feed_forward].into_iter().for_each(&change));
            }
        }
    }
}

#[test]
fn modernbert() {
    shows(
        "families/modernbert-base",
        &[
            ("halves of the gate", halves_swapped),
            ("the tanh form of GELU", tanh_gelu),
            ("θ of windows and of others", rotations_swapped),
            ("a window too narrow by one", |e| windows(e, |radius| radius - 1)),
            ("a window too wide by one", |e| windows(e, |radius| radius + 1)),
            ("no window", sees_all),
            ("no last norm", no_last_norm),
            ("a norm before the first layer", |e| {
                let second = e.layers[1].norms.clone();
                if let (Norms::Pre { attention, .. }, Norms::Pre { attention: norm, .. }) =
                    (&mut e.layers[0].norms, second)
                {
                    *attention = norm;
                }
            }),
            ("another epsilon", |e| norms(e, |norm| norm.eps = 1e-2)),
        ],
    );
    let first: fn(&mut Encoder) = |e| e.heads.sequence.as_mut().unwrap().reads = Reads::First;
    shows("families/modernbert-rerank-mean", &[("the first token in the place of the mean", first)]);
}

#[test]
fn nomic_and_gte() {
    shows(
        "families/nomic-base",
        &[("halves of the gate", halves_swapped), ("no row of segments", no_segments), ("no rotation", no_rotation)],
    );
    shows(
        "families/gte-base-old-names",
        &[
            ("halves of the gate", halves_swapped),
            ("no row of segments", no_segments),
            ("no key bias", no_key_bias),
            ("the tanh form of GELU", tanh_gelu),
            ("rotations that are not divided", |e| {
                attentions(e).for_each(|a| {
                    let power = 2f32.powf(2.0 / a.size as f32);
                    a.rope.iter_mut().for_each(|rope| rope.frequencies.iter_mut().for_each(|f| *f *= power));
                });
            }),
        ],
    );
}

#[test]
fn deberta() {
    shows(
        "families/deberta-v2-base",
        &[
            ("no distances", no_distances),
            ("a scale of √d", scale_of_the_size),
            ("no key bias", no_key_bias),
            ("terms exchanged", |e| vectors(e, |v| std::mem::swap(&mut v.key, &mut v.query))),
            ("queries that meet nothing", |e| vectors(e, |v| v.key = None)),
            ("keys that meet nothing", |e| vectors(e, |v| v.query = None)),
            ("a table that is not normed", |e| vectors(e, |v| v.norm = None)),
            ("vectors without bias", |e| {
                vectors(e, |v| v.key.iter_mut().chain(&mut v.query).for_each(|product| product.bias = None));
            }),
            ("distances without buckets", |e| vectors(e, |v| v.buckets = None)),
        ],
    );
}

#[test]
fn mpnet_and_t5() {
    let first: fn(&mut Encoder) = |e| e.embedding.positions.as_mut().unwrap().first = 0;
    shows("families/mpnet-base", &[("no distances", no_distances), ("positions from row 0", first)]);
    shows(
        "families/t5-encoder-gated",
        &[
            ("no distances", no_distances),
            ("a scale of √d", scale_of_the_size),
            ("halves of the gate", halves_swapped),
            ("the other form of GELU", tanh_gelu),
            ("buckets that reach half as far", |e| {
                for a in attentions(e) {
                    if let Some(Distances::Buckets { buckets, .. }) = &mut a.distances {
                        buckets.furthest /= 2;
                    }
                }
            }),
        ],
    );
}

#[test]
fn decoders_as_encoders() {
    shows(
        "families/qwen3-embed",
        &[
            ("keys behind the query", sees_all),
            ("no norms of heads", no_head_norms),
            ("keys of the other group", keys_paired_wrongly),
            ("no rotation", no_rotation),
        ],
    );
    shows("families/qwen2-embed", &[("no key bias", no_key_bias), ("keys of the other group", keys_paired_wrongly)]);
    let whole: fn(&mut Encoder) = |e| e.heads.sequence.as_mut().unwrap().reads = Reads::Last { pad: None };
    shows("families/qwen3-rerank-seqcls", &[("the pad for the last token", whole)]);
    shows(
        "families/gemma3-embed",
        &[
            ("norms without 1", |e| norms(e, |norm| norm.kind = NormKind::Rms)),
            ("norms of heads without 1", |e| {
                for norms in attentions(e).filter_map(|a| a.query_key_norm.as_mut()) {
                    (norms.query.kind, norms.key.kind) = (NormKind::Rms, NormKind::Rms);
                }
            }),
            ("words that are not scaled", |e| e.embedding.scale = None),
            ("a scale of √d", scale_of_the_size),
            ("θ of windows and of others", rotations_swapped),
            ("a window too narrow by one", |e| windows(e, |radius| radius - 1)),
            ("a window too wide by one", |e| windows(e, |radius| radius + 1)),
            ("what parts give not normed", |e| {
                for Layer { norms, .. } in &mut e.layers {
                    if let Norms::Pre { given, .. } = norms {
                        *given = None;
                    }
                }
            }),
        ],
    );
    let mean: fn(&mut Encoder) = |e| e.heads.sequence.as_mut().unwrap().reads = Reads::Mean;
    shows("families/eurobert-rerank-late", &[("the mean of states for that of logits", mean)]);
}

#[test]
fn experts() {
    fn change(e: &mut Encoder, change: impl Fn(&mut Experts)) {
        for layer in &mut e.layers {
            if let FeedForward::Experts(experts) = &mut layer.feed_forward {
                change(experts);
            }
        }
    }
    shows(
        "experimental/nomic-moe-base",
        &[
            ("one expert less", |e| change(e, |experts| experts.chosen -= 1)),
            ("one expert more", |e| change(e, |experts| experts.chosen += 1)),
            ("second products of the next expert", |e| {
                change(e, |experts| {
                    let first = experts.each[0].rows.clone();
                    for i in 1..experts.each.len() {
                        experts.each[i - 1].rows = experts.each[i].rows.clone();
                    }
                    experts.each.last_mut().unwrap().rows = first;
                });
            }),
            ("no bias", |e| change(e, |experts| experts.bias = None)),
            ("the other form of GELU", tanh_gelu),
        ],
    );
}
