//! Reads what an ONNX file says of itself without loading it: inputs, outputs,
//! and for each node and weight its kind, but never a weight's bytes.
//!
//! The file is mapped and prost skips what [`crate::onnx`] does not name, so weights
//! are not even read from disk.

use std::{
    fs::File,
    path::{Component, Path},
};

use memmap2::Mmap;
use prost::Message;

use crate::{
    error::LoadError,
    onnx::{EXTERNAL, GraphProto, ModelProto},
};

/// Reads the graph of `path` and checks that its external data is there.
///
/// # Errors
/// When the file is not an ONNX model, is cut short, or a data file beside it is
/// missing or too short.
pub(super) fn read(path: &Path) -> Result<GraphProto, LoadError> {
    let file = File::open(path).map_err(LoadError::io(path))?;
    // SAFETY: the map is read-only, private to this process and dropped on return. Another process that truncates the
    // file meanwhile would raise SIGBUS; model files are written whole and then renamed, as every downloader does.
    #[expect(unsafe_code, reason = "mapping a file has no safe form")]
    let map = unsafe { Mmap::map(&file) }.map_err(LoadError::io(path))?;
    let not_onnx = |e: String| LoadError::invalid(path, format!("not a whole ONNX model: {e}"));
    let model = ModelProto::decode(&map[..]).map_err(|e| not_onnx(e.to_string()))?;
    let graph = model.graph.ok_or_else(|| not_onnx("it holds no graph".to_owned()))?;
    if graph.output.is_empty() {
        return Err(not_onnx("its graph has no output".to_owned()));
    }
    check_external_data(path, &graph)?;
    Ok(graph)
}

/// ONNX Runtime finds a missing data file too, but says so in terms of a tensor.
fn check_external_data(path: &Path, graph: &GraphProto) -> Result<(), LoadError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    for tensor in graph.initializer.iter().filter(|t| t.data_location == EXTERNAL) {
        let of = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let number = |key: &str| of(key).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        let place = Path::new(of("location").unwrap_or_default());
        if !place.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
            return Err(LoadError::invalid(
                path,
                format!("tensor {} lies outside the folder, in {}", tensor.name, place.display()),
            ));
        }
        let data = folder.join(place);
        let size = std::fs::metadata(&data).map_err(LoadError::io(&data))?.len();
        let end = number("offset").saturating_add(number("length"));
        if end > size {
            return Err(LoadError::invalid(
                &data,
                format!("{size} bytes, but tensor {} ends at byte {end}", tensor.name),
            ));
        }
    }
    Ok(())
}
