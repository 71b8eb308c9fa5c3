//! Writes what scores labels that come with each request.
//!
//! ```text
//! states[T, H], word_row[W], label_row[C] → words[W, D], labels[C, D] → LSTMs over each text's words → output
//! ```
//!
//! No score of a stretch needs a product of its own. `joined`'s first product is a sum of one of the first word and one of the
//! last, made once a word; its second meets the label's vector first: (W·h + b)·p = h·(Wᵀ·p) + b·p, once a label. What is left
//! for each stretch and label is one dot product ([`SPAN_SCORES`](super::super::kernel::SPAN_SCORES)).

use super::{
    super::{
        family::{BothWays, Encoder, Linear, Lstm, Pointwise, TagScorer, Tagger, Taken, TwoProducts},
        kernel::{LONGEST, LSTM_STEP, PACKED_LSTM, SPAN_SCORES},
    },
    names::{OUTPUT, input},
    parts::{activated, linear, matrix, stored, vector},
};
use crate::{
    error::LoadError,
    folder::weights::Weights,
    onnx::{Attr, Builder, Edge, Elem, ONNX, SORTIE, Size},
};

/// Scores of a word against a label: as the first of a stretch, as its last, as one within.
const WORD_SCORES: usize = 3;

/// Writes the tagger over the hidden states `x` and declares the graph's output: the scores of all texts, one after the other.
pub(crate) fn tagger(b: &mut Builder, t: &Tagger, e: &Encoder, w: &Weights, x: &str) -> Result<(), LoadError> {
    let x = b.go_on_in(Elem::F32, "tagger/states", x);
    let rows = b.input(input::WORD_ROW, Elem::I32, &[Size::Named("words")]);
    let words = b.node(ONNX, "Gather", "tagger/word_states", &[&x, &rows], &[]);
    let rows = b.input(input::LABEL_ROW, Elem::I32, &[Size::Named("labels")]);
    let labels = b.node(ONNX, "Gather", "tagger/label_states", &[&x, &rows], &[]);
    let project = |b: &mut Builder, edge: &str, x: Edge| match &t.projection {
        Some(projection) => shared(b, w, edge, "tagger/projection", projection, &x),
        None => Ok(x),
    };
    let mut words = project(b, "tagger/words", words)?;
    let labels = project(b, "tagger/labels", labels)?;
    debug_assert!(t.projection.is_some() || e.hidden == t.width, "states are as wide as what is scored");
    b.input(input::WORD_BOUNDS, Elem::I32, &[Size::Named("sequences_and_one")]);
    for (i, layer) in t.recurrent.iter().enumerate() {
        words = both_ways(b, w, &format!("tagger/lstm{i}"), layer, &words)?;
    }
    match &t.scorer {
        TagScorer::Spans { longest, first, last, joined, label } => {
            b.input(input::LABEL_BOUNDS, Elem::I32, &[Size::Named("sequences_and_one")]);
            let [first, last] = [("first", first, 0), ("last", last, t.width)].map(|(name, part, from)| {
                let x = two(b, w, &format!("tagger/{name}"), part, &words)?;
                let x = activated(b, &format!("tagger/{name}_activated"), Pointwise::Relu, &x);
                of_half(b, w, &format!("tagger/{name}_joined"), &joined.up, from, t.width, from == 0, &x)
            });
            let label = two(b, w, "tagger/label", label, &labels)?;
            let met = stored(w, &joined.down)?;
            let met = b.weight("tagger/label_met_weight", &met.shape, met.data);
            let met = b.node(ONNX, "MatMul", "tagger/label_met", &[&label, &met], &[]);
            let bias = vector(w, &joined.down)?;
            let bias = b.weight("tagger/label_constant_weight", &[bias.len(), 1], bias);
            let bias = b.node(ONNX, "MatMul", "tagger/label_constant", &[&label, &bias], &[]);
            let inputs = [&first?, &last?, &met, &bias, input::WORD_BOUNDS, input::LABEL_BOUNDS];
            let longest = Attr::Int(LONGEST, i64::try_from(*longest).unwrap_or(i64::MAX));
            b.node(SORTIE, SPAN_SCORES, OUTPUT, &inputs, &[longest]);
            b.output(OUTPUT, Elem::F32, &[Size::Named("scores")]);
        }
        TagScorer::Words { word, label, joined } => {
            let pairs = |b: &mut Builder, name| b.input(name, Elem::I32, &[Size::Named("pairs")]);
            let (of_word, of_label) = (pairs(b, input::PAIR_WORD), pairs(b, input::PAIR_LABEL));
            let half = |b: &mut Builder, edge: &str, product: &Linear, from: usize, x: &str| {
                of_rows(b, w, edge, product, (from, t.width), x)
            };
            // The two that stand side by side go through their own columns of the product once a word and once a label.
            let word_beside = half(b, "tagger/word_beside", word, 0, &words)?;
            let word_beside = of_half(b, w, "tagger/word_joined", &joined.up, 0, t.width, true, &word_beside)?;
            let label_beside = half(b, "tagger/label_beside", label, 0, &labels)?;
            let label_beside =
                of_half(b, w, "tagger/label_joined", &joined.up, t.width, t.width, false, &label_beside)?;
            let word_met = half(b, "tagger/word_met", word, t.width, &words)?;
            let label_met = half(b, "tagger/label_met", label, t.width, &labels)?;
            let each = |b: &mut Builder, edge: &str, x: &str, of: &str| b.node(ONNX, "Gather", edge, &[x, of], &[]);
            let (a, c) = (each(b, "tagger/a", &word_met, &of_word), each(b, "tagger/c", &label_met, &of_label));
            let met = b.node(ONNX, "Mul", "tagger/met", &[&a, &c], &[]);
            let met = of_half(b, w, "tagger/met_joined", &joined.up, 2 * t.width, t.width, false, &met)?;
            let of_words = each(b, "tagger/of_words", &word_beside, &of_word);
            let of_labels = each(b, "tagger/of_labels", &label_beside, &of_label);
            let sum = b.node(ONNX, "Add", "tagger/sum", &[&met, &of_words], &[]);
            let sum = b.node(ONNX, "Add", "tagger/joined", &[&sum, &of_labels], &[]);
            let sum = activated(b, "tagger/joined_activated", Pointwise::Relu, &sum);
            linear(b, w, OUTPUT, &joined.down, &sum)?;
            b.output(OUTPUT, Elem::F32, &[Size::Named("pairs"), Size::Of(WORD_SCORES)]);
        }
    }
    Ok(())
}

/// `x·Wᵀ + b` by weights that several products have, which are stored once.
fn shared(b: &mut Builder, w: &Weights, edge: &str, name: &str, product: &Linear, x: &str) -> Result<Edge, LoadError> {
    let (weight, bias) = (matrix(w, product)?, vector(w, product)?);
    let weight = b.weight_once(&format!("{name}_weight"), &weight.shape, || weight.data);
    let bias = b.weight_once(&format!("{name}_bias"), &[bias.len()], || bias);
    Ok(b.node(ONNX, "Gemm", edge, &[x, &weight, &bias], &[]))
}

/// Two products with ReLU between.
fn two(b: &mut Builder, w: &Weights, edge: &str, products: &TwoProducts, x: &str) -> Result<Edge, LoadError> {
    let up = linear(b, w, &format!("{edge}_up"), &products.up, x)?;
    let up = activated(b, &format!("{edge}_up_activated"), Pointwise::Relu, &up);
    linear(b, w, edge, &products.down, &up)
}

/// The part of `product` that reads `width` numbers from place `from` on; its bias with one of the parts.
#[expect(clippy::too_many_arguments, reason = "which part of which product, of what")]
fn of_half(
    b: &mut Builder,
    w: &Weights,
    edge: &str,
    product: &Linear,
    from: usize,
    width: usize,
    with_bias: bool,
    x: &str,
) -> Result<Edge, LoadError> {
    let to = product.to();
    let weight = matrix(w, product)?.data[from * to..(from + width) * to].to_vec();
    let weight = b.weight(format!("{edge}_weight"), &[width, to], weight);
    if !with_bias {
        return Ok(b.node(ONNX, "MatMul", edge, &[x, &weight], &[]));
    }
    let bias = b.weight(format!("{edge}_bias"), &[to], vector(w, product)?);
    Ok(b.node(ONNX, "Gemm", edge, &[x, &weight, &bias], &[]))
}

/// `x·Wᵀ + b` by `count` rows of `product` from `first` on.
fn of_rows(
    b: &mut Builder,
    w: &Weights,
    edge: &str,
    product: &Linear,
    (first, count): (usize, usize),
    x: &str,
) -> Result<Edge, LoadError> {
    let taken = Taken::From { first, rows: count };
    let mut part = product.clone();
    part.weight.taken = taken.clone();
    if let Some(bias) = &mut part.bias {
        bias.taken = taken;
    }
    linear(b, w, edge, &part, x)
}

/// A layer of LSTMs: what they read goes through one product, the steps are an operator's.
fn both_ways(b: &mut Builder, w: &Weights, edge: &str, layer: &BothWays, words: &str) -> Result<Edge, LoadError> {
    let size = layer.forward.size;
    let step = (4 * size).next_multiple_of(LSTM_STEP);
    let (from, mut read, mut bias, mut before) = (layer.forward.read.from, Vec::new(), Vec::new(), Vec::new());
    let ways = [&layer.forward, &layer.backward];
    let read_by: Vec<_> = ways.iter().map(|lstm| matrix(w, &lstm.read)).collect::<Result<_, _>>()?;
    for row in 0..from {
        for read_by in &read_by {
            padded(&mut read, &read_by.data[row * 4 * size..][..4 * size], step);
        }
    }
    for lstm in ways {
        let Lstm { read, before: state, .. } = lstm;
        // PyTorch adds two biases; they are always added together.
        let sum: Vec<f32> = vector(w, read)?.iter().zip(vector(w, state)?).map(|(a, b)| a + b).collect();
        padded(&mut bias, &sum, step);
        matrix(w, state)?.data.chunks_exact(4 * size).for_each(|row| padded(&mut before, row, step));
    }
    let read = b.weight(format!("{edge}_read_weight"), &[from, 2 * step], read);
    let bias = b.weight(format!("{edge}_read_bias"), &[2 * step], bias);
    let before = b.weight(format!("{edge}_before"), &[2 * size, step], before);
    let gates = b.node(ONNX, "Gemm", &format!("{edge}_read"), &[words, &read, &bias], &[]);
    Ok(b.node(SORTIE, PACKED_LSTM, edge, &[&gates, &before, input::WORD_BOUNDS], &[]))
}

/// Adds a row, filled up with zeros.
fn padded(to: &mut Vec<f32>, row: &[f32], width: usize) {
    to.extend_from_slice(row);
    to.resize(to.len() + width - row.len(), 0.0);
}
