//! Safetensors files, one or in shards, mapped into memory.
//!
//! A tensor is read as f32 whatever it is stored as (f32, f16, bf16). Files are
//! mapped, not read: pages come in as tensors are converted.

use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Deserialize;

use super::read_json;
use crate::error::LoadError;

const ONE_FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

/// The weights of a folder.
#[derive(Debug)]
pub(crate) struct Weights {
    shards: Vec<Shard>,
    /// Tensor name → shard that holds it.
    place: HashMap<String, usize>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    map: Mmap,
}

/// One tensor as f32, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f32>,
}

impl Weights {
    /// True when the folder has safetensors at all.
    pub(crate) fn are_in(folder: &Path) -> bool {
        folder.join(ONE_FILE).is_file() || folder.join(INDEX).is_file()
    }

    /// Maps the files of `folder` and checks their headers.
    pub(crate) fn open(folder: &Path) -> Result<Self, LoadError> {
        let one = folder.join(ONE_FILE);
        let names = if one.is_file() {
            vec![ONE_FILE.to_owned()]
        } else {
            let index_path = folder.join(INDEX);
            let index: Index = read_json(&index_path)?;
            let mut names: Vec<_> = index.weight_map.into_values().collect();
            names.sort();
            names.dedup();
            if let Some(bad) = names.iter().find(|n| n.contains(['/', '\\']) || n.as_str() == "..") {
                return Err(LoadError::invalid(&index_path, format!("names the file {bad:?} outside the folder")));
            }
            names
        };
        let mut weights = Weights { shards: Vec::new(), place: HashMap::new() };
        for name in names {
            weights.add(&folder.join(name))?;
        }
        Ok(weights)
    }

    fn add(&mut self, path: &Path) -> Result<(), LoadError> {
        let file = File::open(path).map_err(LoadError::io(path))?;
        // SAFETY: the map is read-only and private to this process. Another process that truncates the file while it
        // is mapped would raise SIGBUS; model files are written whole and then renamed, as every downloader does.
        #[expect(unsafe_code, reason = "mapping a file has no safe form")]
        let map = unsafe { Mmap::map(&file) }.map_err(LoadError::io(path))?;
        let tensors = SafeTensors::deserialize(&map).map_err(|e| damaged(path, &e))?;
        let shard = self.shards.len();
        for name in tensors.names() {
            self.place.insert(name.to_owned(), shard);
        }
        self.shards.push(Shard { path: path.to_owned(), map });
        Ok(())
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.place.contains_key(name)
    }

    /// Reads a tensor as f32 and checks its shape.
    pub(crate) fn get(&self, name: &str, shape: &[usize]) -> Result<Matrix, LoadError> {
        let matrix = self.get_any(name)?;
        if matrix.shape == shape {
            return Ok(matrix);
        }
        Err(LoadError::invalid(
            self.path_of(name),
            format!("tensor {name} has shape {:?}, config.json makes it {shape:?}", matrix.shape),
        ))
    }

    /// Reads a tensor of whatever shape as f32.
    pub(crate) fn get_any(&self, name: &str) -> Result<Matrix, LoadError> {
        let path = self.path_of(name);
        let missing = || LoadError::invalid(path, format!("tensor {name} is missing"));
        let shard = self.place.get(name).and_then(|&s| self.shards.get(s)).ok_or_else(missing)?;
        let tensors = SafeTensors::deserialize(&shard.map).map_err(|e| damaged(path, &e))?;
        let view = tensors.tensor(name).map_err(|_| missing())?;
        let data = to_f32(&view).ok_or_else(|| {
            LoadError::unsupported(
                path,
                format!("tensor {name} is stored as {:?}; f32, f16 and bf16 are read", view.dtype()),
            )
        })?;
        if let Some(i) = data.iter().position(|x| !x.is_finite()) {
            return Err(LoadError::invalid(path, format!("tensor {name} holds {} at place {i}", data[i])));
        }
        Ok(Matrix { shape: view.shape().to_vec(), data })
    }

    fn path_of(&self, name: &str) -> &Path {
        let shard = self.place.get(name).copied().unwrap_or(0);
        self.shards.get(shard).map_or(Path::new(ONE_FILE), |s| &s.path)
    }
}

/// A file that is no safetensors file, or not all of one.
fn damaged(path: &Path, error: &safetensors::SafeTensorError) -> LoadError {
    LoadError::invalid(path, format!("not a whole safetensors file; fetch it again ({error})"))
}

fn to_f32(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::BF16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        _ => return None,
    })
}

impl Matrix {
    /// A matrix of `rows` × `cols` turned on its side.
    pub(crate) fn transposed(&self) -> Matrix {
        // Square blocks keep both sides in cache.
        const BLOCK: usize = 32;
        let (rows, cols) = (self.shape[0], self.shape[1]);
        let mut data = vec![0.0; rows * cols];
        for r0 in (0..rows).step_by(BLOCK) {
            for c0 in (0..cols).step_by(BLOCK) {
                for r in r0..(r0 + BLOCK).min(rows) {
                    for c in c0..(c0 + BLOCK).min(cols) {
                        data[c * rows + r] = self.data[r * cols + c];
                    }
                }
            }
        }
        Matrix { shape: vec![cols, rows], data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_is_nothing() {
        let m = Matrix { shape: vec![33, 70], data: (0..33 * 70).map(|i| i as f32).collect() };
        let t = m.transposed();
        assert_eq!((t.shape.as_slice(), t.data[1]), ([70, 33].as_slice(), 70.0));
        assert_eq!(t.transposed(), m);
    }
}
