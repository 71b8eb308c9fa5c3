//! Finds the ONNX file of a model folder: the one that is asked for by name, else `model.onnx`, else `onnx/model.onnx`,
//! else the only `*.onnx` there is in the folder, else the only one in `onnx/`.
//!
//! Files made for one kind of processor (`model_qint8_avx512_vnni.onnx`) are never taken unless they are asked for, and
//! then only where the processor is of that kind: elsewhere their sums overflow and the answers are wrong.

use std::path::{Component, Path, PathBuf};

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
pub(crate) fn find(folder: &Path, named: Option<&Path>) -> Result<Option<PathBuf>, LoadError> {
    if let Some(named) = named {
        return asked(folder, named).map(Some);
    }
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

/// The file that is asked for.
fn asked(folder: &Path, named: &Path) -> Result<PathBuf, LoadError> {
    let inside = named.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    let path = folder.join(named);
    if !inside || !path.is_file() {
        return Err(LoadError::unsupported(&path, "this export is asked for, but it is not in the folder"));
    }
    match processor(&path) {
        Some((kind, false)) => Err(LoadError::unsupported(
            &path,
            format!("it is made for processors with {kind}, and this is none: its answers would be wrong here"),
        )),
        _ => Ok(path),
    }
}

/// The kind of processor that a file was made for, by its name, and whether this is one.
fn processor(path: &Path) -> Option<(&'static str, bool)> {
    let name = path.file_stem()?.to_str()?;
    #[cfg(target_arch = "x86_64")]
    let (vnni, avx512, avx2) = (
        std::arch::is_x86_feature_detected!("avx512vnni"),
        std::arch::is_x86_feature_detected!("avx512f"),
        std::arch::is_x86_feature_detected!("avx2"),
    );
    #[cfg(not(target_arch = "x86_64"))]
    let (vnni, avx512, avx2) = (false, false, false);
    let arm = cfg!(target_arch = "aarch64");
    [("avx512_vnni", vnni), ("avx512", avx512), ("avx2", avx2), ("arm64", arm)]
        .into_iter()
        .find(|(kind, _)| name.ends_with(&format!("_{kind}")))
}

/// `*.onnx` files of one folder, by name, but for those made for one kind of processor.
fn exports(folder: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(LoadError::io(folder))? {
        let path = entry.map_err(LoadError::io(folder))?.path();
        if path.extension().is_some_and(|e| e == "onnx") && path.is_file() && processor(&path).is_none() {
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
        assert_eq!(find(dir.path(), None).unwrap(), want.map(|w| dir.path().join(w)), "{files:?}");
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
        let message = find(dir.path(), None).unwrap_err().to_string();
        assert!(message.contains("model_fp16.onnx, model_q4.onnx"), "{message}");
    }

    #[test]
    fn a_file_for_one_kind_of_processor_is_taken_only_when_asked_for_and_only_there() {
        expect(&["onnx/model_qint8_avx512_vnni.onnx"], None);
        expect(&["onnx/model_qint8_avx512_vnni.onnx", "onnx/model_O2.onnx"], Some("onnx/model_O2.onnx"));
        let other =
            if cfg!(target_arch = "aarch64") { "onnx/model_quint8_avx2.onnx" } else { "onnx/model_qint8_arm64.onnx" };
        let dir = folder(&[other, "onnx/model_O3.onnx"]);
        let of = |name: &str| find(dir.path(), Some(Path::new(name)));
        assert_eq!(of("onnx/model_O3.onnx").unwrap(), Some(dir.path().join("onnx/model_O3.onnx")));
        assert!(of(other).unwrap_err().to_string().contains("made for processors with"));
        for missing in ["onnx/model_O4.onnx", "../model_O3.onnx"] {
            assert!(of(missing).unwrap_err().to_string().contains("not in the folder"), "{missing}");
        }
    }
}
