//! Copies of tiny model folders with other weights or files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

#[path = "../../../../engine/tests/engine/archive.rs"]
mod archive;

/// A copy of a tiny model in a temporary folder, to be spoilt.
pub(crate) fn copy(name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(name);
    std::fs::create_dir(&folder).unwrap();
    for entry in std::fs::read_dir(super::oracle(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    (dir, folder)
}

/// f32 tensors of a safetensors file: shape and numbers by name.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

pub(crate) fn read_tensors(folder: &Path) -> Tensors {
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Map<String, Value> = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    let data = &bytes[8 + header_len..];
    let mut tensors = Tensors::new();
    for (name, about) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        assert_eq!(about["dtype"], "F32", "{name}");
        let at = |i: usize| about["data_offsets"][i].as_u64().unwrap() as usize;
        let shape = about["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let numbers = data[at(0)..at(1)].chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        tensors.insert(name.clone(), (shape, numbers));
    }
    tensors
}

pub(crate) fn write_tensors(folder: &Path, tensors: &Tensors) {
    let mut header = Map::new();
    let mut data = Vec::new();
    for (name, (shape, numbers)) in tensors {
        let start = data.len();
        data.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
}

/// Changes the tensors of a folder.
pub(crate) fn edit_tensors(folder: &Path, edit: impl FnOnce(&mut Tensors)) {
    let mut tensors = read_tensors(folder);
    edit(&mut tensors);
    write_tensors(folder, &tensors);
}

/// Changes `config.json` of a folder.
pub(crate) fn edit_config(folder: &Path, edit: impl FnOnce(&mut Value)) {
    let path = folder.join("config.json");
    let mut config = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut config);
    std::fs::write(&path, config.to_string()).unwrap();
}

/// A tiny SPLADE: the tiny BERT with a masked-LM head whose logits are the projections of the
/// normalised states on the word embeddings.
pub(crate) fn sparse_model() -> (tempfile::TempDir, PathBuf) {
    let (dir, folder) = copy("bert-base");
    edit_config(&folder, |c| c["architectures"] = json!(["BertForMaskedLM"]));
    edit_tensors(&folder, |tensors| {
        let mut all: Tensors = std::mem::take(tensors).into_iter().map(|(n, t)| (format!("bert.{n}"), t)).collect();
        let words = all["bert.embeddings.word_embeddings.weight"].clone();
        let (vocab, hidden) = (words.0[0], words.0[1]);
        let identity = (0..hidden * hidden).map(|i| f32::from(u8::from(i % (hidden + 1) == 0))).collect();
        let head = "cls.predictions";
        all.insert(format!("{head}.transform.dense.weight"), (vec![hidden, hidden], identity));
        all.insert(format!("{head}.transform.dense.bias"), (vec![hidden], vec![0.0; hidden]));
        all.insert(format!("{head}.transform.LayerNorm.weight"), (vec![hidden], vec![1.0; hidden]));
        all.insert(format!("{head}.transform.LayerNorm.bias"), (vec![hidden], vec![0.0; hidden]));
        all.insert(format!("{head}.bias"), (vec![vocab], vec![0.0; vocab]));
        all.insert(format!("{head}.decoder.weight"), words);
        *tensors = all;
    });
    (dir, folder)
}

/// What one of the oracle's archives holds: a folder of folders, which are not to be written to.
pub(crate) fn archived(archive: &str) -> PathBuf {
    archive::unpacked(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle")).join(archive)
}

/// A folder of `tests/oracle/folders` or of the archive of that name, put together: what several share lies elsewhere, as
/// its `from.json` says.
pub(crate) fn assemble(name: &str) -> tempfile::TempDir {
    let tree = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle");
    let there = tree.join("folders").join(name).is_dir();
    let all = if there { tree.as_path() } else { archive::unpacked(&tree) };
    let to = tempfile::tempdir().unwrap();
    copy_all(&all.join("folders").join(name), to.path());
    let list = to.path().join("from.json");
    let links: BTreeMap<PathBuf, PathBuf> = serde_json::from_str(&std::fs::read_to_string(&list).unwrap()).unwrap();
    std::fs::remove_file(list).unwrap();
    for (file, from) in links {
        let file = to.path().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::copy(all.join(from), file).unwrap();
    }
    to
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}
