//! Safetensors files, one or in shards, mapped into memory.
//!
//! A tensor is read as f32 whatever it is stored as (f32, f16, bf16). Files are
//! mapped, not read: pages come in as tensors are converted.

use std::{
    collections::HashMap,
    fs::File,
    ops::Range,
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

/// Weights as a pickle, which are not read: reading one runs its code.
const PICKLE: &str = "pytorch_model.bin";

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
    /// Differences that an adapter adds, by tensor name.
    deltas: HashMap<String, Delta>,
}

/// What an adapter adds to one weight: `scale · B·A`.
#[derive(Debug)]
pub(crate) struct Delta {
    /// Row-major (rank × inputs).
    pub(crate) a: Vec<f32>,
    /// Row-major (outputs × rank).
    pub(crate) b: Vec<f32>,
    pub(crate) rank: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) scale: f32,
}

impl Delta {
    /// Adds it to a weight, row-major (outputs × inputs).
    fn add_to(&self, weight: &mut [f32]) {
        for (row, b) in weight.chunks_exact_mut(self.inputs.max(1)).zip(self.b.chunks_exact(self.rank.max(1))) {
            for (&b, a) in b.iter().zip(self.a.chunks_exact(self.inputs.max(1))) {
                row.iter_mut().zip(a).for_each(|(w, a)| *w += self.scale * b * a);
            }
        }
    }
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
        } else if !folder.join(INDEX).is_file() && folder.join(PICKLE).is_file() {
            return Err(pickle(folder));
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
        let mut weights = Weights { shards: Vec::new(), place: HashMap::new(), deltas: HashMap::new() };
        for name in names {
            weights.add(&folder.join(name))?;
        }
        Ok(weights)
    }

    /// Maps one file.
    pub(crate) fn open_file(path: &Path) -> Result<Self, LoadError> {
        let mut weights = Weights { shards: Vec::new(), place: HashMap::new(), deltas: HashMap::new() };
        weights.add(path)?;
        Ok(weights)
    }

    /// Names of all tensors, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.place.keys().map(String::as_str)
    }

    /// The tensor that `name` means, with or without the name of its model before it.
    pub(crate) fn resolve(&self, name: &str) -> Option<String> {
        if self.has(name) {
            return Some(name.to_owned());
        }
        let ends = |full: &&str| full.strip_suffix(name).is_some_and(|before| before.ends_with('.'));
        let is_end = |full: &&str| name.strip_suffix(full).is_some_and(|before| before.ends_with('.'));
        let mut found = self.names().filter(|full| ends(full) || is_end(full));
        let one = found.next()?.to_owned();
        found.next().is_none().then_some(one)
    }

    /// Adds `delta` whenever the tensor `name` is read.
    pub(crate) fn add_delta(&mut self, name: String, delta: Delta) {
        self.deltas.insert(name, delta);
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

    /// Rows of a tensor that is there.
    pub(crate) fn rows(&self, name: &str) -> Option<usize> {
        let shard = self.place.get(name).and_then(|&shard| self.shards.get(shard))?;
        let tensors = SafeTensors::deserialize(&shard.map).ok()?;
        tensors.tensor(name).ok()?.shape().first().copied()
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

    /// Reads some rows of a matrix as f32 and checks the shape of the whole; the others are not looked at.
    pub(crate) fn get_rows(&self, name: &str, shape: [usize; 2], rows: Range<usize>) -> Result<Vec<f32>, LoadError> {
        let width = shape[1];
        if self.deltas.contains_key(name) {
            return Ok(self.get(name, &shape)?.data[rows.start * width..rows.end * width].to_vec());
        }
        let path = self.path_of(name);
        let missing = || LoadError::invalid(path, format!("tensor {name} is missing"));
        let shard = self.place.get(name).and_then(|&s| self.shards.get(s)).ok_or_else(missing)?;
        let tensors = SafeTensors::deserialize(&shard.map).map_err(|e| damaged(path, &e))?;
        let view = tensors.tensor(name).map_err(|_| missing())?;
        let bytes = view.data().len() / (shape[0] * width).max(1) * width;
        if view.shape() != shape || rows.end > shape[0] {
            return Err(LoadError::invalid(
                path,
                format!("tensor {name} has shape {:?}, config.json makes it {shape:?}", view.shape()),
            ));
        }
        numbers(path, name, &view, &view.data()[rows.start * bytes..rows.end * bytes])
    }

    /// Reads a tensor of whatever shape as f32.
    pub(crate) fn get_any(&self, name: &str) -> Result<Matrix, LoadError> {
        let path = self.path_of(name);
        let missing = || LoadError::invalid(path, format!("tensor {name} is missing"));
        let shard = self.place.get(name).and_then(|&s| self.shards.get(s)).ok_or_else(missing)?;
        let tensors = SafeTensors::deserialize(&shard.map).map_err(|e| damaged(path, &e))?;
        let view = tensors.tensor(name).map_err(|_| missing())?;
        let data = numbers(path, name, &view, view.data())?;
        let mut matrix = Matrix { shape: view.shape().to_vec(), data };
        if let Some(delta) = self.deltas.get(name) {
            if matrix.shape != [delta.outputs, delta.inputs] {
                return Err(LoadError::invalid(
                    path,
                    format!(
                        "tensor {name} has shape {:?}, an adapter changes {:?}",
                        matrix.shape,
                        [delta.outputs, delta.inputs]
                    ),
                ));
            }
            delta.add_to(&mut matrix.data);
        }
        Ok(matrix)
    }

    /// Reads a tensor of whole numbers that fit 32 bits.
    pub(crate) fn whole_numbers(&self, name: &str) -> Result<Vec<u32>, LoadError> {
        let path = self.path_of(name);
        let missing = || LoadError::invalid(path, format!("tensor {name} is missing"));
        let shard = self.place.get(name).and_then(|&s| self.shards.get(s)).ok_or_else(missing)?;
        let tensors = SafeTensors::deserialize(&shard.map).map_err(|e| damaged(path, &e))?;
        let view = tensors.tensor(name).map_err(|_| missing())?;
        let bytes = view.data();
        let numbers: Option<Vec<u32>> = match view.dtype() {
            Dtype::I64 => {
                bytes.chunks_exact(8).map(|b| u32::try_from(i64::from_le_bytes(b.try_into().ok()?)).ok()).collect()
            }
            Dtype::I32 => {
                bytes.chunks_exact(4).map(|b| u32::try_from(i32::from_le_bytes(b.try_into().ok()?)).ok()).collect()
            }
            _ => None,
        };
        numbers.ok_or_else(|| {
            LoadError::unsupported(
                path,
                format!("tensor {name} is stored as {:?}; i64 and i32 from 0 up are read", view.dtype()),
            )
        })
    }

    /// The file that holds a tensor.
    pub(crate) fn path_of(&self, name: &str) -> &Path {
        let shard = self.place.get(name).copied().unwrap_or(0);
        self.shards.get(shard).map_or(Path::new(ONE_FILE), |s| &s.path)
    }
}

/// Weights that must be converted first, and how.
pub(crate) fn pickle(folder: &Path) -> LoadError {
    let name = folder.display();
    LoadError::unsupported(
        &folder.join(PICKLE),
        format!(
            "weights as a pickle are not read, since reading one runs its code; convert them once: python -c \"import torch, safetensors.torch as s; \
             w = torch.load('{name}/{PICKLE}', weights_only=True); s.save_file({{k: v.clone().contiguous() for k, v in w.items()}}, '{name}/{ONE_FILE}')\""
        ),
    )
}

/// Whether a folder has nothing but weights as a pickle.
pub(crate) fn is_pickled(folder: &Path) -> bool {
    folder.join(PICKLE).is_file() && !Weights::are_in(folder)
}

/// A file that is no safetensors file, or not all of one.
fn damaged(path: &Path, error: &safetensors::SafeTensorError) -> LoadError {
    LoadError::invalid(path, format!("not a whole safetensors file; fetch it again ({error})"))
}

/// Numbers of a tensor, or of part of its bytes; finite ones.
fn numbers(path: &Path, name: &str, view: &TensorView<'_>, bytes: &[u8]) -> Result<Vec<f32>, LoadError> {
    let data: Vec<f32> = match view.dtype() {
        Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::BF16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        other => {
            return Err(LoadError::unsupported(
                path,
                format!("tensor {name} is stored as {other:?}; f32, f16 and bf16 are read"),
            ));
        }
    };
    match data.iter().position(|x| !x.is_finite()) {
        Some(i) => Err(LoadError::invalid(path, format!("tensor {name} holds {} at place {i}", data[i]))),
        None => Ok(data),
    }
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
