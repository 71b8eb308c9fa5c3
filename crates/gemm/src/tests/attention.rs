//! Attention against f64.

use std::ops::Range;

use super::{numbers, runnable};
use crate::{
    Unit, WeightFormat,
    attention::{HeadRows, HeadShape, run},
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
