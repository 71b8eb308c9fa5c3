//! A layer's rest against f64.

use super::{kinds, numbers, weight};
use crate::{Act, Attended, KeptWeight, LayerNorms, LayerOutput, LayerRest, RowNorm, Unit, WeightFormat, Widening};

/// Rows of attention, hidden and inner numbers: none a whole tile.
const FROM: usize = 40;
const HIDDEN: usize = 56;
const INNER: usize = 105;

fn row_norm(seed: u64, is_centred: bool) -> RowNorm {
    let weight = numbers(seed, HIDDEN).iter().map(|x| 1.0 + 0.2 * x).collect();
    RowNorm { weight, bias: if is_centred { numbers(seed + 1, HIDDEN) } else { Vec::new() }, is_centred, eps: 1e-6 }
}

/// A product's shape, numbers and bias.
struct Plain([usize; 2], Vec<f32>, Vec<f32>);

impl Plain {
    fn new(seed: u64, shape: [usize; 2]) -> Self {
        let scale = 1.0 / (shape[0] as f32).sqrt();
        let weight = numbers(seed, shape[0] * shape[1]).iter().map(|x| x * scale).collect();
        Self(shape, weight, numbers(seed + 1, shape[1]))
    }

    fn kept(&self, (unit, format): (Unit, WeightFormat)) -> KeptWeight {
        weight(unit, format, self.0, &self.1, &self.2)
    }

    fn truth(&self, x: &[f64]) -> Vec<f64> {
        let [rows, columns] = self.0;
        let sum = |c: usize| (0..rows).map(|k| x[k] * f64::from(self.1[k * columns + c])).sum::<f64>();
        (0..columns).map(|c| sum(c) + f64::from(self.2[c])).collect()
    }
}

fn true_norm(x: &[f64], norm: &RowNorm) -> Vec<f64> {
    let count = x.len() as f64;
    let mean = if norm.is_centred { x.iter().sum::<f64>() / count } else { 0.0 };
    let square = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    let share = 1.0 / (square + f64::from(norm.eps)).sqrt();
    let bias = |i: usize| norm.bias.get(i).map_or(0.0, |&b| f64::from(b));
    x.iter().enumerate().map(|(i, x)| (x - mean) * share * f64::from(norm.weight[i]) + bias(i)).collect()
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn added(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn norms() -> Vec<LayerNorms> {
    let boxed = |seed, is_centred| Box::new(row_norm(seed, is_centred));
    vec![
        LayerNorms::Post { attention: row_norm(30, true), feed_forward: row_norm(32, true) },
        LayerNorms::Pre { given: None, feed_forward: boxed(34, false), next: Some(boxed(36, true)) },
        LayerNorms::Pre { given: None, feed_forward: boxed(34, true), next: None },
        LayerNorms::Pre {
            given: Some(Box::new([row_norm(38, false), row_norm(40, false)])),
            feed_forward: boxed(34, false),
            next: Some(boxed(36, false)),
        },
    ]
}

/// What is read and the stream, of one row in f64.
fn truth(parts: &[Plain; 4], gated: bool, norms: &LayerNorms, attended: &[f32], stream: &[f32]) -> [Vec<f64>; 2] {
    let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let [out, gate, up, down] = parts;
    let (mut given, stream) = (out.truth(&wide(attended)), wide(stream));
    let feed = |x: &[f64]| {
        let up = up.truth(x);
        let inner: Vec<f64> = if gated {
            gate.truth(x).iter().zip(&up).map(|(gate, up)| silu(*gate) * up).collect()
        } else {
            up.into_iter().map(silu).collect()
        };
        down.truth(&inner)
    };
    match norms {
        LayerNorms::Post { attention, feed_forward } => {
            let x = true_norm(&added(&given, &stream), attention);
            let read = true_norm(&added(&feed(&x), &x), feed_forward);
            [read, Vec::new()]
        }
        LayerNorms::Pre { given: over, feed_forward, next } => {
            if let Some(over) = over {
                given = true_norm(&given, &over[0]);
            }
            let sum = added(&given, &stream);
            let mut given = feed(&true_norm(&sum, feed_forward));
            if let Some(over) = over {
                given = true_norm(&given, &over[1]);
            }
            let sum = added(&given, &sum);
            [next.as_ref().map_or_else(|| sum.clone(), |next| true_norm(&sum, next)), sum]
        }
    }
}

fn layer(kind: (Unit, WeightFormat), parts: &[Plain; 4], gated: bool, norms: LayerNorms) -> LayerRest {
    let [out, gate, up, down] = parts.each_ref().map(|part| part.kept(kind));
    let act = Act::Silu;
    let widening = if gated { Widening::Gated { gate, up, act } } else { Widening::Plain { up, act } };
    LayerRest::new(out, widening, down, norms).unwrap()
}

fn run(layer: &LayerRest, attended: &[f32], stream: &[f32]) -> [Vec<f32>; 2] {
    let (mut read, mut sum) = (vec![f32::NAN; stream.len()], vec![f32::NAN; stream.len()]);
    let gives = layer.gives_sum();
    layer.run(Attended::Numbers(attended), stream, LayerOutput { read: &mut read, sum: gives.then_some(&mut sum[..]) });
    [read, if gives { sum } else { Vec::new() }]
}

#[test]
fn layers_are_those_of_f64_and_no_company_changes_a_bit() {
    check(&kinds(), INNER);
}

/// Two whole pieces of 384 inner columns, and a part of a third.
#[test]
fn inner_rows_in_f32_are_made_piece_by_piece() {
    let kinds: Vec<_> = kinds().into_iter().filter(|(_, format)| *format == WeightFormat::F32).collect();
    assert!(!kinds.is_empty());
    check(&kinds, 2 * 384 + INNER);
}

fn check(kinds: &[(Unit, WeightFormat)], inner: usize) {
    let parts = [
        Plain::new(1, [FROM, HIDDEN]),
        Plain::new(3, [HIDDEN, inner]),
        Plain::new(5, [HIDDEN, inner]),
        Plain::new(7, [inner, HIDDEN]),
    ];
    let rows = 131;
    let (attended, stream) = (numbers(20, rows * FROM), numbers(21, rows * HIDDEN));
    for &kind in kinds {
        let most = match kind.1 {
            WeightFormat::F32 => 1e-5,
            WeightFormat::Bf16 => 0.06,
            WeightFormat::Bf16x3 => 1e-4,
            WeightFormat::Int8 => 0.2,
        };
        for (norms, gated) in norms().into_iter().flat_map(|norms| [(norms.clone(), false), (norms, true)]) {
            let layer = layer(kind, &parts, gated, norms.clone());
            let together = run(&layer, &attended, &stream);
            for row in [0, 64, 130] {
                let (attended, stream) = (&attended[row * FROM..][..FROM], &stream[row * HIDDEN..][..HIDDEN]);
                let truth = truth(&parts, gated, &norms, attended, stream);
                let alone = run(&layer, attended, stream);
                for (i, alone) in alone.iter().enumerate() {
                    for (c, x) in alone.iter().enumerate() {
                        let there = together[i][row * HIDDEN + c];
                        assert_eq!(x.to_bits(), there.to_bits(), "{kind:?} {norms:?} row {row} column {c}");
                        let error = (f64::from(*x) - truth[i][c]).abs();
                        assert!(error < most, "{kind:?} gated {gated} {norms:?} row {row}: off by {error}");
                    }
                }
            }
        }
    }
}

#[test]
fn widths_that_do_not_fit_are_refused() {
    let kind = (Unit::Portable, WeightFormat::Bf16);
    let of = |shape| Plain::new(1, shape).kept(kind);
    let norms = || norms().remove(0);
    let plain = |shape| Widening::Plain { up: of(shape), act: Act::Gelu };
    let (out, down) = ([FROM, HIDDEN], [INNER, HIDDEN]);
    assert!(LayerRest::new(of(out), plain([HIDDEN, INNER]), of(down), norms()).is_ok());
    assert!(LayerRest::new(of(out), plain([HIDDEN + 1, INNER]), of(down), norms()).is_err());
    assert!(LayerRest::new(of(out), plain([HIDDEN, INNER + 1]), of(down), norms()).is_err());
    assert!(LayerRest::new(of(out), plain([HIDDEN, INNER]), of([INNER, HIDDEN - 1]), norms()).is_err());
    let mut narrow = row_norm(1, true);
    narrow.bias.pop();
    let norms = LayerNorms::Post { attention: narrow.clone(), feed_forward: narrow };
    assert!(LayerRest::new(of(out), plain([HIDDEN, INNER]), of(down), norms).is_err());
}
