//! Folders of the oracle, put together from their own files and those that several share. The fuzz targets take this file
//! in too.

use std::path::{Path, PathBuf};

/// A copy of the folder `name` of the oracle at `root`: a published layout with the files it shares, or a tiny model.
pub(crate) fn assemble(root: &Path, name: &str) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let layout = root.join("folders").join(name);
    if !layout.is_dir() {
        copy(&root.join("tiny").join(name), to.path());
        return to;
    }
    copy(&layout, to.path());
    let list = to.path().join("from.json");
    let links: std::collections::BTreeMap<PathBuf, PathBuf> =
        serde_json::from_str(&std::fs::read_to_string(&list).unwrap()).unwrap();
    std::fs::remove_file(list).unwrap();
    for (file, from) in links {
        let file = to.path().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::copy(root.join(from), file).unwrap();
    }
    to
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}
