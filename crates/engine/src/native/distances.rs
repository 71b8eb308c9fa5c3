//! What distances add to scores, as tables that the attention operator takes: buckets and slopes as a number a distance and
//! head, DeBERTa's vectors as products that are made once.

use super::{
    family::{Attention, DistanceBuckets, DistanceVectors, Distances, Linear, Norm},
    graph::{stored, vector},
    kernel::WIDEST_PASS,
};
use crate::{
    cuda::MOST_DISTANCES,
    error::LoadError,
    folder::weights::{Matrix, Weights},
};

/// (heads × 2·reach + 1) numbers, from the furthest key before a query on, and a name for them. `longest` is the longest
/// sequence.
pub(super) fn numbers(
    w: &Weights,
    a: &Attention,
    distances: &Distances,
    longest: usize,
) -> Result<(String, Vec<f32>), LoadError> {
    Ok(match distances {
        Distances::Buckets { name, buckets } => {
            let stored = w.get(name, &[buckets.count, a.heads])?.data;
            let reach = buckets.furthest as isize;
            let row = |head: usize| {
                let stored = &stored;
                (-reach..=reach).map(move |behind| stored[buckets.of(behind) * a.heads + head])
            };
            (format!("attention/{name}"), (0..a.heads).flat_map(row).collect())
        }
        Distances::Slopes(slopes) => {
            let reach = longest.saturating_sub(1) as isize;
            let row = |slope: f32| (-reach..=reach).map(move |behind| -slope * behind.unsigned_abs() as f32);
            ("attention/slopes".to_owned(), slopes.iter().flat_map(|&slope| row(slope)).collect())
        }
        Distances::Vectors(_) => return Err(LoadError::Runtime("vectors of distances are no numbers".into())),
    })
}

impl DistanceBuckets {
    /// Row of a key `behind` places after its query: those after it have the second half.
    fn of(self, behind: isize) -> usize {
        let half = self.count / 2;
        let base = if behind > 0 { half } else { 0 };
        let (away, exact) = (behind.unsigned_abs(), half / 2);
        if away < exact {
            return base + away;
        }
        // In f32, as PyTorch has it.
        let ratio = (away as f32 / exact as f32).ln() / ((self.furthest as f64 / exact as f64).ln() as f32);
        #[expect(
            clippy::cast_sign_loss,
            clippy::cast_possible_truncation,
            reason = "a ratio from 0 up, cut to a whole number"
        )]
        let further = (ratio * (half - exact) as f32) as usize;
        base + (exact + further).min(half - 1)
    }
}

/// DeBERTa's vectors of a layer.
pub(super) struct VectorTables {
    /// (heads·size × width) each.
    pub(super) met_by_queries: Option<Vec<f32>>,
    pub(super) met_by_keys: Option<Vec<f32>>,
    pub(super) width: usize,
    /// Column of each distance, from the furthest key before a query on.
    pub(super) columns: Vec<i32>,
}

/// Makes the vectors of one layer: the table normed, then by the layer's products. `scaled`: keys are, where the sum of all
/// three products is not; what queries meet is then scaled too.
pub(super) fn vectors(
    w: &Weights,
    a: &Attention,
    vectors: &DistanceVectors,
    hidden: usize,
    scaled: bool,
) -> Result<VectorTables, LoadError> {
    let rows = 2 * vectors.span;
    let mut table = w.get(&vectors.table, &[rows, hidden])?;
    if let Some(norm) = &vectors.norm {
        norm_rows(w, norm, &mut table)?;
    }
    let width = rows.next_multiple_of(WIDEST_PASS);
    let made = |product: &Option<Linear>, scale: f32| {
        product.as_ref().map(|product| turned(w, product, &table, scale, width)).transpose()
    };
    let reach = vectors.reach() as isize;
    Ok(VectorTables {
        met_by_queries: made(&vectors.key, if scaled { a.scale } else { 1.0 })?,
        met_by_keys: made(&vectors.query, 1.0)?,
        width,
        columns: (-reach..=reach).map(|behind| vectors.column(behind) as i32).collect(),
    })
}

impl VectorTables {
    /// The same as (heads × width × size), as kernels on CUDA read them.
    pub(super) fn by_column(self, a: &Attention) -> Result<Self, LoadError> {
        let (size, width) = (a.size, self.width);
        let turned = |table: Vec<f32>| {
            let mut turned = vec![0.0; table.len()];
            for (head, numbers) in table.chunks_exact(size * width).enumerate() {
                for (d, row) in numbers.chunks_exact(width).enumerate() {
                    for (column, &x) in row.iter().enumerate() {
                        turned[(head * width + column) * size + d] = x;
                    }
                }
            }
            turned
        };
        let steep = self.columns.windows(MOST_DISTANCES).any(|w| w[MOST_DISTANCES - 1] - w[0] >= MOST_DISTANCES as i32);
        if steep {
            return Err(LoadError::Runtime("buckets of distances that leave rows out are not served on CUDA".into()));
        }
        Ok(Self {
            met_by_queries: self.met_by_queries.map(turned),
            met_by_keys: self.met_by_keys.map(turned),
            width,
            columns: self.columns,
        })
    }
}

impl DistanceVectors {
    /// From this distance on all share a row.
    fn reach(&self) -> usize {
        self.buckets.map_or(self.span, |(_, furthest)| furthest.max(self.span))
    }

    /// Column of a key `behind` places after its query: rows of the table in reverse, so that columns rise with the key.
    fn column(&self, behind: isize) -> usize {
        let span = self.span as isize;
        let row = (self.bucket(-behind) + span).clamp(0, 2 * span - 1);
        (2 * span - 1 - row) as usize
    }

    /// The bucket of a distance: its own where it is near, one on a logarithmic scale farther off.
    fn bucket(&self, distance: isize) -> isize {
        let Some((count, furthest)) = self.buckets else { return distance };
        let mid = (count / 2) as isize;
        if distance.abs() <= mid {
            return distance;
        }
        let near = (distance.abs() as f64 / mid as f64).ln();
        let all = ((furthest as f64 - 1.0) / mid as f64).ln();
        #[expect(clippy::cast_possible_truncation, reason = "a whole number of buckets")]
        let further = (near / all * (mid - 1) as f64).ceil() as isize;
        (further + mid) * distance.signum()
    }
}

/// Norms each row by a layer norm.
fn norm_rows(w: &Weights, norm: &Norm, table: &mut Matrix) -> Result<(), LoadError> {
    let width = table.shape[1];
    let gamma = w.get(&norm.weight, &[width])?.data;
    let beta = match &norm.bias {
        Some(name) => w.get(name, &[width])?.data,
        None => vec![0.0; width],
    };
    for row in table.data.chunks_exact_mut(width) {
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / width as f64;
        let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / width as f64;
        let share = 1.0 / (variance + f64::from(norm.eps)).sqrt();
        for (x, (g, b)) in row.iter_mut().zip(gamma.iter().zip(&beta)) {
            #[expect(clippy::cast_possible_truncation, reason = "back to f32")]
            let normed = ((f64::from(*x) - mean) * share) as f32;
            *x = normed * g + b;
        }
    }
    Ok(())
}

/// `(table·Wᵀ + b)·scale`, turned on its side (to × width), its rows in reverse and filled up with zeros.
fn turned(w: &Weights, product: &Linear, table: &Matrix, scale: f32, width: usize) -> Result<Vec<f32>, LoadError> {
    let (weight, bias) = (stored(w, product)?, vector(w, product)?);
    let (rows, from) = (table.shape[0], table.shape[1]);
    let columns: Vec<Vec<f32>> =
        (0..from).map(|k| (0..rows).rev().map(|r| table.data[r * from + k]).collect()).collect();
    let mut made = vec![0.0; product.to() * width];
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let each = product.to().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        for (part, made) in made.chunks_mut(each * width).enumerate() {
            let (weight, bias, columns) = (&weight.data, &bias, &columns);
            scope.spawn(move || {
                for (i, row) in made.chunks_exact_mut(width).enumerate() {
                    let out = part * each + i;
                    let row = &mut row[..rows];
                    row.fill(bias.get(out).copied().unwrap_or(0.0));
                    for (x, column) in weight[out * from..][..from].iter().zip(columns) {
                        row.iter_mut().zip(column).for_each(|(sum, c)| *sum += x * c);
                    }
                    row.iter_mut().for_each(|sum| *sum *= scale);
                }
            });
        }
    });
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_the_table_of_thresholds() {
        let buckets = DistanceBuckets { count: 32, furthest: 128 };
        let firsts = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91];
        for (bucket, &first) in firsts.iter().enumerate() {
            let next = firsts.get(bucket + 1).copied().unwrap_or(600);
            for away in first..next {
                assert_eq!(buckets.of(-away), bucket, "{away} before");
                if away > 0 {
                    assert_eq!(buckets.of(away), 16 + bucket, "{away} behind");
                }
            }
        }
    }

    fn deberta(buckets: Option<(usize, usize)>, span: usize) -> DistanceVectors {
        DistanceVectors { table: String::new(), norm: None, span, buckets, key: None, query: None }
    }

    #[test]
    fn far_distances_share_buckets_as_deberta_has_them() {
        let v = deberta(Some((256, 512)), 256);
        for (distance, bucket) in
            [(128, 128), (129, 129), (200, 169), (256, 192), (300, 207), (400, 233), (510, 255), (511, 255), (512, 256)]
        {
            assert_eq!(v.bucket(distance), bucket);
            assert_eq!(v.bucket(-distance), -bucket);
        }
        assert_eq!(v.reach(), 512);
        // A key far before its query has the last row of the table, which is the first column.
        assert_eq!((v.column(-512), v.column(0), v.column(512)), (0, 255, 511));
    }

    #[test]
    fn without_buckets_each_distance_has_its_own_row() {
        let v = deberta(None, 8);
        let columns: Vec<usize> = (-9..=9).map(|x| v.column(x)).collect();
        assert_eq!(columns, [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 15]);
    }
}
