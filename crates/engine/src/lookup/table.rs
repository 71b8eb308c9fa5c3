//! Tables of static embeddings: sentence-transformers' `embedding.weight`, model2vec's `embeddings` with its `mapping` (row
//! of each id) and `weights` (factor of each id), and one weight an id for sparse vectors.

use std::path::Path;

use crate::{
    error::LoadError,
    folder::{keys::FileKeys, weights::Weights},
    item::ItemFault,
    post::SparseRule,
};

/// One vector an id.
#[derive(Debug)]
pub(crate) struct Table {
    /// Row-major (stored rows × width).
    values: Vec<f32>,
    width: usize,
    /// Stored row of each id; an id's own where empty.
    mapping: Vec<u32>,
    /// Factor of each id; 1 where empty.
    factors: Vec<f32>,
}

impl Table {
    /// Reads the table in `folder`.
    pub(crate) fn open(folder: &Path) -> Result<Self, LoadError> {
        let weights = Weights::open(folder)?;
        let name = if weights.has("embedding.weight") { "embedding.weight" } else { "embeddings" };
        let matrix = weights.get_any(name)?;
        let path = folder.join("model.safetensors");
        let &[rows, width] = &matrix.shape[..] else {
            return Err(LoadError::invalid(
                &path,
                format!("tensor {name} has shape {:?}, a table has two", matrix.shape),
            ));
        };
        if rows == 0 || width == 0 {
            return Err(LoadError::invalid(&path, format!("tensor {name} is empty")));
        }
        let mut table = Self { values: matrix.data, width, mapping: Vec::new(), factors: Vec::new() };
        if name == "embeddings" && weights.has("mapping") {
            table.mapping = weights.whole_numbers("mapping")?;
            if let Some(row) = table.mapping.iter().find(|&&row| row as usize >= rows) {
                return Err(LoadError::invalid(&path, format!("tensor mapping names row {row}, the table has {rows}")));
            }
        }
        if name == "embeddings" && weights.has("weights") {
            table.factors = weights.get_any("weights")?.data;
            if table.factors.len() != table.rows_of_ids(rows) {
                return Err(LoadError::invalid(
                    &path,
                    format!("tensor weights has {} numbers for {} ids", table.factors.len(), table.rows_of_ids(rows)),
                ));
            }
        }
        Ok(table)
    }

    fn rows_of_ids(&self, rows: usize) -> usize {
        if self.mapping.is_empty() { rows } else { self.mapping.len() }
    }

    /// Ids it has a vector for.
    pub(crate) fn rows(&self) -> usize {
        self.rows_of_ids(self.values.len() / self.width)
    }

    /// Numbers in a vector.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The row and the factor of an id.
    fn row(&self, id: u32) -> Result<(&[f32], f32), ItemFault> {
        let at = id as usize;
        let place = if self.mapping.is_empty() { Some(at) } else { self.mapping.get(at).map(|&row| row as usize) };
        let row = place.and_then(|p| self.values.get(p * self.width..(p + 1) * self.width));
        let outside = || ItemFault::BadSequence(format!("token id {id} is outside the table of {} rows", self.rows()));
        Ok((
            row.ok_or_else(outside)?,
            if self.factors.is_empty() { 1.0 } else { self.factors.get(at).copied().unwrap_or(1.0) },
        ))
    }

    /// Mean over the ids; zeros where there are none.
    pub(crate) fn mean(&self, ids: &[u32]) -> Result<Vec<f32>, ItemFault> {
        let mut sums = vec![0.0f32; self.width];
        for &id in ids {
            let (row, factor) = self.row(id)?;
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x * factor);
        }
        #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^24")]
        let share = 1.0 / ids.len().max(1) as f32;
        sums.iter_mut().for_each(|sum| *sum *= share);
        Ok(sums)
    }

    /// The vectors of the ids, row-major.
    pub(crate) fn states(&self, ids: &[u32]) -> Result<Vec<f32>, ItemFault> {
        let mut states = Vec::with_capacity(ids.len() * self.width);
        for &id in ids {
            let (row, factor) = self.row(id)?;
            states.extend(row.iter().map(|x| x * factor));
        }
        Ok(states)
    }
}

/// One weight an id.
#[derive(Debug)]
pub(crate) struct SparseTable {
    weights: Vec<f32>,
}

impl SparseTable {
    /// Reads the weights in `folder`: `weight`, or the file of weights by token that its configuration names.
    pub(crate) fn open(folder: &Path) -> Result<Self, LoadError> {
        let path = folder.join("config.json");
        if let Some(mut keys) = FileKeys::read(&path)? {
            // Whether training may change the weights.
            keys.take::<bool>("frozen")?;
            if let Some(file) = keys.take::<serde_json::Value>("path")? {
                return Err(keys.refused(
                    "path",
                    &file,
                    "weights by token are; save the model again and they are in model.safetensors",
                ));
            }
            keys.none_left()?;
        }
        let matrix = Weights::open(folder)?.get_any("weight")?;
        if matrix.shape.len() != 1 {
            let path = folder.join("model.safetensors");
            return Err(LoadError::invalid(
                &path,
                format!("tensor weight has shape {:?}, one a token is served", matrix.shape),
            ));
        }
        Ok(Self { weights: matrix.data })
    }

    /// Ids it has a weight for.
    pub(crate) fn rows(&self) -> usize {
        self.weights.len()
    }

    /// The weight of each id that is there, once.
    pub(crate) fn weights(&self, ids: &[u32], most: Option<usize>) -> Result<Vec<(u32, f32)>, ItemFault> {
        let mut row = vec![0.0f32; self.weights.len()];
        for &id in ids {
            match (row.get_mut(id as usize), self.weights.get(id as usize)) {
                (Some(to), Some(&weight)) => *to = weight,
                _ => return Err(ItemFault::BadSequence(format!("token id {id} is outside the {} weights", row.len()))),
            }
        }
        SparseRule { most, ..SparseRule::default() }.of_weights(&row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table { values: vec![1.0, 2.0, 3.0, 4.0], width: 2, mapping: vec![1, 1, 0], factors: vec![1.0, 0.5, 10.0] }
    }

    #[test]
    fn the_mean_is_over_mapped_and_weighted_rows() {
        // 0 → (3,4); 1 → (1.5,2); 2 → (10,20).
        assert_eq!(table().mean(&[0, 1]).unwrap(), [2.25, 3.0]);
        assert_eq!(table().mean(&[2, 2]).unwrap(), [10.0, 20.0]);
        assert_eq!(table().mean(&[]).unwrap(), [0.0, 0.0]);
        assert!(matches!(table().mean(&[3]), Err(ItemFault::BadSequence(_))));
        assert_eq!(table().states(&[2, 1]).unwrap(), [10.0, 20.0, 1.5, 2.0]);
    }

    #[test]
    fn an_id_weighs_once_however_often_it_is_there() {
        let table = SparseTable { weights: vec![1.0, 0.0, 2.5] };
        assert_eq!(table.weights(&[2, 0, 2, 1], None).unwrap(), [(0, 1.0), (2, 2.5)]);
        assert_eq!(table.weights(&[2, 0], Some(1)).unwrap(), [(2, 2.5)]);
        assert!(matches!(table.weights(&[3], None), Err(ItemFault::BadSequence(_))));
    }
}
