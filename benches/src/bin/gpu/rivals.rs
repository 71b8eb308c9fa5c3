//! The other sides, in Python: PyTorch, sentence-transformers, and the writer of a padded graph.

use std::{path::Path, process::Command};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::json;

use crate::{Common, ModelShape};

#[derive(Deserialize)]
struct RivalTime {
    how: String,
    seconds: f64,
}

/// Runs the script; its last line of output is JSON. `None` without a Python.
fn python(common: &Common, arguments: &[&str]) -> anyhow::Result<Option<String>> {
    let Some(program) = &common.python else {
        eprintln!("rivals are left out: no --python");
        return Ok(None);
    };
    let out = Command::new(program)
        .arg(&common.rivals)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if !out.status.success() {
        bail!("{} {arguments:?} failed: {}", common.rivals.display(), String::from_utf8_lossy(&out.stderr).trim());
    }
    let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    Ok(text.lines().last().map(str::to_owned))
}

fn times(line: &str) -> anyhow::Result<Vec<(String, f64)>> {
    let all: Vec<RivalTime> = serde_json::from_str(line).with_context(|| format!("the rivals printed {line:?}"))?;
    Ok(all.into_iter().map(|t| (t.how, t.seconds)).collect())
}

/// PyTorch on sequences of these lengths. A rival that cannot run is told and left out.
pub(crate) fn torch(common: &Common, shape: &str, lengths: &[usize]) -> anyhow::Result<Vec<(String, f64)>> {
    let text = serde_json::to_string(lengths)?;
    match python(common, &["torch", shape, &text]) {
        Ok(Some(line)) => times(&line),
        Ok(None) => Ok(Vec::new()),
        Err(why) => {
            println!("PyTorch is left out: {why:#}\n");
            Ok(Vec::new())
        }
    }
}

/// sentence-transformers on a reranker folder and (query, documents).
pub(crate) fn sentence(
    common: &Common,
    folder: &Path,
    query: &str,
    documents: &[String],
) -> anyhow::Result<Vec<(String, f64)>> {
    let work = tempfile::NamedTempFile::new()?;
    serde_json::to_writer(&work, &json!({"query": query, "documents": documents}))?;
    let (folder, path) = (folder.to_string_lossy(), work.path().to_string_lossy());
    match python(common, &["sentence", &folder, &path]) {
        Ok(Some(line)) => times(&line),
        Ok(None) => Ok(Vec::new()),
        Err(why) => {
            println!("sentence-transformers is left out: {why:#}\n");
            Ok(Vec::new())
        }
    }
}

/// A folder with a padded f16 graph of this shape, fused as ONNX Runtime's own tools would.
pub(crate) fn padded_graph(common: &Common, shape: ModelShape) -> anyhow::Result<Option<tempfile::TempDir>> {
    let folder = tempfile::tempdir()?;
    // Tokenizer and config come from the sample; its weights must not be preferred, and are not there.
    sortie_engine::write_sample(folder.path(), shape.sample(), true)?;
    std::fs::remove_file(folder.path().join("model.safetensors"))?;
    let path = folder.path().join("model.onnx");
    match python(common, &["write", shape.name(), &path.to_string_lossy()]) {
        Ok(Some(_)) => Ok(Some(folder)),
        Ok(None) => Ok(None),
        Err(why) => {
            println!("padded ONNX Runtime is left out: {why:#}\n");
            Ok(None)
        }
    }
}
