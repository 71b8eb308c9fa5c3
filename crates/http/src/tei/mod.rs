//! TEI's routes, but for `/rerank`, which others share.

pub(crate) mod by_model;
pub(crate) mod classify;
pub(crate) mod decode;
pub(crate) mod embed;
pub(crate) mod health;
pub(crate) mod info;
mod options;
pub(crate) mod similarity;
pub(crate) mod sparse;
pub(crate) mod tag;
pub(crate) mod tokenize;
pub(crate) mod tokens;

pub(crate) use by_model::{by_model, vertex};
pub(crate) use classify::predict;
pub(crate) use decode::decode;
pub(crate) use embed::embed;
pub(crate) use health::{health, root};
pub(crate) use info::info;
pub(crate) use options::pair_options;
pub(crate) use similarity::similarity;
pub(crate) use sparse::embed_sparse;
pub(crate) use tag::tag;
pub(crate) use tokenize::tokenize;
pub(crate) use tokens::embed_all;
