//! Finds the ONNX file of a model folder: `model.onnx`, else `onnx/model.onnx`,
//! else the only `*.onnx` there is in the folder, else the only one in `onnx/`.

use std::path::{Path, PathBuf};

use crate::error::LoadError;

/// The folder that optimum and the hub's exports put ONNX files in.
const SUBFOLDER: &str = "onnx";
/// The name that needs no choosing.
const USUAL: &str = "model.onnx";

/// The ONNX file to serve, `None` where the folder has none.
///
/// # Errors
/// When there are several and none has the usual name (the error names them), or
/// the folder cannot be read.
pub(crate) fn find(folder: &Path) -> Result<Option<PathBuf>, LoadError> {
    let usual = [folder.join(USUAL), folder.join(SUBFOLDER).join(USUAL)];
    if let Some(path) = usual.into_iter().find(|p| p.is_file()) {
        return Ok(Some(path));
    }
    for place in [folder.to_owned(), folder.join(SUBFOLDER)] {
        if !place.is_dir() {
            continue;
        }
        let mut found = exports(&place)?;
        if found.len() > 1 {
            let names: Vec<_> = found.iter().filter_map(|p| p.file_name()).map(|n| n.to_string_lossy()).collect();
            return Err(LoadError::unsupported(
                &place,
                format!("several ONNX files and none is called {USUAL}: {}; keep the one to serve", names.join(", ")),
            ));
        }
        if let Some(path) = found.pop() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// `*.onnx` files of one folder, by name.
fn exports(folder: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(LoadError::io(folder))? {
        let path = entry.map_err(LoadError::io(folder))?.path();
        if path.extension().is_some_and(|e| e == "onnx") && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("onnx")).unwrap();
        for f in files {
            std::fs::write(dir.path().join(f), b"").unwrap();
        }
        dir
    }

    #[track_caller]
    fn expect(files: &[&str], want: Option<&str>) {
        let dir = folder(files);
        assert_eq!(find(dir.path()).unwrap(), want.map(|w| dir.path().join(w)), "{files:?}");
    }

    #[test]
    fn the_usual_names_win_and_a_lone_file_will_do() {
        expect(&["model.onnx", "onnx/model.onnx", "other.onnx"], Some("model.onnx"));
        expect(&["onnx/model.onnx", "onnx/model_q4.onnx", "other.onnx"], Some("onnx/model.onnx"));
        expect(&["tagger.onnx", "tag_vocab.json"], Some("tagger.onnx"));
        expect(&["onnx/model_q4.onnx", "onnx/model_q4.onnx_data"], Some("onnx/model_q4.onnx"));
        expect(&["config.json"], None);
    }

    #[test]
    fn several_files_are_named() {
        let dir = folder(&["onnx/model_q4.onnx", "onnx/model_fp16.onnx"]);
        let message = find(dir.path()).unwrap_err().to_string();
        assert!(message.contains("model_fp16.onnx, model_q4.onnx"), "{message}");
    }
}
