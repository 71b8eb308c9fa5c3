//! Attention against f64.

use std::ops::Range;

use super::{numbers, runnable};
use crate::{
    KeptProduct, ProjectedHead, Unit, WeightFormat,
    attention::{HeadRows, HeadShape, run, run_projected},
    tests::weight,
};

struct ProjectedRows {
    shape: HeadShape,
    all: [Vec<f32>; 3],
    /// How far a query sees; it stands at the place of its number.
    radius: Option<usize>,
}

impl ProjectedRows {
    fn new(size: usize, queries: usize, keys: usize, radius: Option<usize>) -> Self {
        let all = [(1, queries), (2, keys), (3, keys)].map(|(seed, rows)| numbers(seed, rows * size));
        Self { shape: HeadShape { size, queries, keys }, all, radius }
    }

    fn row(&self, kind: usize, i: usize) -> &[f32] {
        &self.all[kind][i * self.shape.size..][..self.shape.size]
    }

    fn truth(&self, query: usize) -> Vec<f64> {
        let seen = self.seen(query);
        let score = |j: usize| -> f64 {
            self.row(0, query).iter().zip(self.row(1, j)).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum()
        };
        let weights: Vec<f64> = seen.clone().map(|j| score(j).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let of = |d: usize| seen.clone().zip(&weights).map(|(j, w)| w * f64::from(self.row(2, j)[d])).sum::<f64>();
        (0..self.shape.size).map(|d| of(d) / sum).collect()
    }
}

impl HeadRows for ProjectedRows {
    fn query(&self, i: usize, to: &mut [f32]) {
        to.copy_from_slice(self.row(0, i));
    }

    fn key(&self, j: usize, to: &mut [f32]) {
        to.copy_from_slice(self.row(1, j));
    }

    fn value(&self, j: usize, to: &mut [f32]) {
        to.copy_from_slice(self.row(2, j));
    }

    fn seen(&self, i: usize) -> Range<usize> {
        match self.radius {
            Some(radius) => i.saturating_sub(radius)..(i + radius + 1).min(self.shape.keys),
            None => 0..self.shape.keys,
        }
    }
}

fn units() -> Vec<Unit> {
    runnable().into_iter().filter(|unit| unit.makes(WeightFormat::Bf16)).collect()
}

fn all(unit: Unit, rows: &ProjectedRows) -> Vec<Vec<f32>> {
    let mut given = vec![Vec::new(); rows.shape.queries];
    run(unit, rows.shape, rows, &mut |i, numbers| given[i] = numbers.to_vec());
    given
}

#[test]
fn heads_are_those_of_f64() {
    for unit in units() {
        for (size, queries, keys, radius) in [
            (32, 1, 1, None),
            (32, 70, 70, None),
            (64, 33, 130, None),
            (20, 40, 41, None),
            (48, 200, 200, Some(5)),
            (80, 17, 96, None),
        ] {
            let rows = ProjectedRows::new(size, queries, keys, radius);
            for (i, given) in all(unit, &rows).iter().enumerate() {
                for (x, truth) in given.iter().zip(rows.truth(i)) {
                    let error = (f64::from(*x) - truth).abs();
                    assert!(error < 0.015, "{unit} {size} {queries}×{keys} {radius:?} query {i}: off by {error}");
                }
            }
        }
    }
}

#[test]
fn a_row_that_is_not_finite_spoils_those_that_see_it() {
    for unit in units() {
        let mut rows = ProjectedRows::new(32, 100, 100, Some(3));
        let clean = all(unit, &rows);
        rows.all[2][50 * 32] = f32::NAN;
        rows.all[0][10 * 32] = f32::NAN;
        for (i, (given, clean)) in all(unit, &rows).iter().zip(&clean).enumerate() {
            let sees = (47..=53).contains(&i);
            // The kernel meets a value in a query's block with weight zero, and zero times NaN is NaN.
            if i == 10 {
                assert!(given.iter().all(|x| x.is_nan()), "{unit} query {i}");
            } else if sees {
                assert!(given[0].is_nan(), "{unit} query {i}");
            } else {
                assert_eq!(given[1..], clean[1..], "{unit} query {i}");
            }
        }
    }
}

/// Tokens of three sequences go through one projection by the identity, so that attention's rows are known; heads of 20 numbers
/// leave some of a strip over.
#[test]
fn projected_heads_are_those_of_f64_whoever_stands_beside() {
    for unit in units() {
        for size in [20, 32, 64] {
            let filled = usize::next_multiple_of(size, 32);
            let identity: Vec<f32> = (0..9 * filled * filled)
                .map(|i| if i % (3 * filled) == i / (3 * filled) { 1.0 } else { 0.0 })
                .collect();
            let shape = [3 * filled, 3 * filled];
            let product = KeptProduct::new(weight(unit, WeightFormat::Bf16, shape, &identity, &[]));
            // First tokens, tokens, keys.
            let sequences = [(0, 5, 5), (5, 70, 61), (75, 33, 33)];
            let mut x = vec![0.0; 108 * 3 * filled];
            let parts = sequences.map(|(start, tokens, keys)| {
                let mut rows = ProjectedRows::new(size, tokens, tokens, None);
                for (part, numbers) in rows.all.iter().enumerate() {
                    for (i, row) in numbers.chunks_exact(size).enumerate() {
                        // Weights are powers of 2.
                        let factor = if part == 0 { std::f32::consts::LOG2_E } else { 1.0 };
                        let to = &mut x[((start + i) * 3 + part) * filled..][..size];
                        to.iter_mut().zip(row).for_each(|(to, x)| *to = x * factor);
                    }
                }
                rows.shape.keys = keys;
                rows
            });
            let mut tokens = vec![0; product.tiled(108)];
            product.run_tiled(&x, &mut tokens);
            for ((start, queries, keys), rows) in sequences.into_iter().zip(&parts) {
                let head = |first: usize, queries: usize| {
                    let shape = HeadShape { size, queries, keys };
                    let strips = 3 * filled / 32;
                    let at = [0, filled / 32, 2 * filled / 32];
                    let head = ProjectedHead { tokens: &tokens, strips, at, start, first, shape };
                    let mut given = vec![vec![0; size]; queries];
                    run_projected(unit, &head, &mut |i, at, halves| {
                        given[i][at..][..halves.len()].copy_from_slice(halves)
                    });
                    given
                };
                let all = head(0, queries);
                for (i, given) in all.iter().enumerate() {
                    for (x, truth) in given.iter().zip(rows.truth(i)) {
                        let error = (f64::from(f32::from_bits(u32::from(*x) << 16)) - truth).abs();
                        assert!(error < 0.02, "{unit} {size} query {i} of {queries}: off by {error}");
                    }
                }
                assert_eq!(head(queries - 1, 1)[0], all[queries - 1], "{unit} {size}: the last query alone");
            }
        }
    }
}
