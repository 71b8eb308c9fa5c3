//! Opens a described folder: which path serves it, how long its sequences are, which tokenizer reads its texts.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`encoder`] | opens an encoder, natively or as an ONNX graph |
//! | [`tables`] | opens a folder without an encoder |
//! | [`readings`] | how texts are read by their roles |
//! | [`opened`] | what comes of it |

mod encoder;
mod opened;
mod readings;
mod tables;

use std::{path::Path, sync::Arc};

pub(crate) use self::{
    opened::{Opened, ServedBy},
    tables::STATIC_LONGEST,
};
use crate::{
    error::LoadError,
    folder::{Folder, Routes},
    lookup::Lookup,
    options::LoadOptions,
};

/// Reads the folder `root`.
///
/// # Errors
/// When it holds nothing that can be served, or a file of it is missing, broken or at odds with another.
pub(crate) fn read(root: &Path, options: &LoadOptions) -> Result<Opened, LoadError> {
    if !root.is_dir() {
        return Err(LoadError::unsupported(root, "there is no such model folder"));
    }
    let mut folder = Folder::read(root, options)?;
    let mut routes = std::mem::replace(&mut folder.routes, Routes::empty());
    let has_encoder = routes.encoder().is_some();
    if has_encoder {
        encoder::skip_list(&folder, &mut routes)?;
    }
    let routes = Arc::new(routes);
    let lookup = Lookup::open(&routes)?.map(Arc::new);
    let opened = if has_encoder {
        encoder::open(folder, routes, lookup, options)?
    } else {
        tables::open(folder, routes, lookup, options)?
    };
    let tokenizer =
        readings::with_readings(opened.tokenizer, &opened.folder, &opened.routes, opened.lookup.as_deref())?;
    Ok(Opened { tokenizer, ..opened })
}
