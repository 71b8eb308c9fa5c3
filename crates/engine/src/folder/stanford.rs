//! Stanford's ColBERT checkpoints: an encoder with a projection beside it, and `artifact.metadata`.

use std::path::Path;

use super::{
    keys::{FileKeys, Notes},
    library::{Pylate, QUERY_LENGTH, punctuation},
    transformer::Expansion,
    weights::Weights,
};
use crate::{
    error::LoadError,
    post::{Dense, DenseActivation, Residual},
};

/// Architecture of such a checkpoint.
pub(super) const ARCHITECTURE: &str = "HF_ColBERT";

/// File of its settings.
const METADATA: &str = "artifact.metadata";

/// Longest document where nothing is said: PyLate's.
const DOCUMENT_LENGTH: usize = super::library::DOCUMENT_LENGTH;

/// Its settings in PyLate's words.
pub(super) fn rules(folder: &Path, notes: &mut Notes) -> Result<Pylate, LoadError> {
    let Some(mut keys) = FileKeys::read(&folder.join(METADATA))? else {
        return Ok(of("[unused0]".into(), "[unused1]".into(), QUERY_LENGTH, DOCUMENT_LENGTH, false, true));
    };
    let rules = of(
        keys.take("query_token_id")?.unwrap_or_else(|| "[unused0]".to_owned()),
        keys.take("doc_token_id")?.unwrap_or_else(|| "[unused1]".to_owned()),
        keys.take("query_maxlen")?.unwrap_or(QUERY_LENGTH),
        keys.take("doc_maxlen")?.unwrap_or(DOCUMENT_LENGTH),
        keys.take("attend_to_mask_tokens")?.unwrap_or(false),
        keys.take("mask_punctuation")?.unwrap_or(true),
    );
    keys.take::<usize>("dim")?;
    keys.one_of("similarity", &["cosine"])?;
    keys.note_rest(notes);
    Ok(rules)
}

fn of(
    query: String,
    document: String,
    query_length: usize,
    document_length: usize,
    attend: bool,
    skips: bool,
) -> Pylate {
    Pylate {
        query_prefix: query,
        document_prefix: document,
        document_length,
        query_length,
        expansion: Some(Expansion { length: query_length, fixed: true, attend, token: None }),
        skiplist: if skips { punctuation() } else { Vec::new() },
    }
}

/// Its projection of each token: `linear.weight` among the encoder's own weights.
pub(super) fn projection(folder: &Path) -> Result<Dense, LoadError> {
    let matrix = Weights::open(folder)?.get_any("linear.weight")?;
    let &[outputs, inputs] = &matrix.shape[..] else {
        return Err(LoadError::invalid(folder, format!("tensor linear.weight has shape {:?}", matrix.shape)));
    };
    Ok(Dense {
        inputs,
        outputs,
        weight: matrix.data,
        bias: None,
        activation: DenseActivation::Identity,
        residual: Residual::None,
    })
}
