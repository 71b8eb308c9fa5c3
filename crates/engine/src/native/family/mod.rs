//! The families of encoders that are served natively. Each is a file that reads a folder and returns an [`Encoder`]: nothing
//! else of the graph knows a family's name. docs/families.md tells how one is added.

mod bert;
mod deberta;
mod distilbert;
mod encoder;
mod eurobert;
mod feed_forward;
mod gemma;
mod gliner;
mod gte;
mod heads;
mod jina;
mod layer_kind;
mod llama;
mod modernbert;
mod mpnet;
mod neobert;
mod nomic;
mod parts;
mod places;
mod rope;
mod rope_keys;
mod source;
mod t5;
mod tagger;

use std::path::Path;

pub(crate) use self::{
    encoder::{
        Attention, DistanceBuckets, DistanceVectors, Distances, Embedding, Encoder, Layer, Norms, QueryKeyNorm, Sight,
        plain_scale,
    },
    feed_forward::{Expert, Experts, FeedForward},
    heads::{Classifier, HeadStep, Reads, SequenceHead, Transform, VocabularyHead},
    parts::{Linear, Norm, NormKind, Pointwise, Taken, TensorRows},
    places::PositionSegments,
    rope::Rope,
    source::FamilySource,
    tagger::{BothWays, Lstm, TagScorer, Tagger, TwoProducts},
};
use crate::{
    error::LoadError,
    folder::{TaggerFolder, config::Config, keys::Notes, weights::Weights},
};

/// A family.
struct Family {
    /// Values of `model_type` that name it.
    model_types: &'static [&'static str],
    /// Whether a configuration of such a type is the family's, where several share it.
    is: fn(&FamilySource<'_>) -> bool,
    /// Reads a folder.
    describe: fn(&mut FamilySource<'_>) -> Result<Encoder, LoadError>,
    /// No judge but its published code has confirmed its numbers.
    experimental: bool,
}

/// All of them. Of those that share a type the first whose configuration it is reads the folder.
const FAMILIES: [Family; 16] = [
    jina::FAMILY,
    bert::BERT,
    bert::ROBERTA,
    bert::ELECTRA,
    distilbert::FAMILY,
    mpnet::FAMILY,
    nomic::WITH_EXPERTS,
    nomic::FAMILY,
    gte::FAMILY,
    modernbert::FAMILY,
    deberta::FAMILY,
    llama::FAMILY,
    gemma::FAMILY,
    eurobert::FAMILY,
    t5::FAMILY,
    neobert::FAMILY,
];

/// Every `model_type` that the native path serves from safetensors; others need an ONNX export.
pub fn native_model_types() -> impl Iterator<Item = &'static str> {
    let mut seen = Vec::new();
    FAMILIES.iter().flat_map(|family| family.model_types).copied().filter(move |name| {
        let new = !seen.contains(name);
        seen.push(*name);
        new
    })
}

/// Whether a model type is one that the native path knows.
pub(crate) fn serves(model_type: &str) -> bool {
    FAMILIES.iter().any(|family| family.model_types.contains(&model_type))
}

/// What a folder's encoder is.
#[derive(Debug)]
pub(crate) struct FamilyEncoder {
    pub(crate) encoder: Encoder,
    pub(crate) experimental: bool,
    /// What stands on it where labels come with each request.
    pub(crate) tagger: Option<Tagger>,
}

/// Reads what the encoder in `folder` is, or says why it is not served natively.
pub(crate) fn describe(
    folder: &Path,
    config: &Config,
    within: Option<&TaggerFolder>,
    weights: &Weights,
    notes: &mut Notes,
) -> Result<FamilyEncoder, LoadError> {
    let mut source = match within {
        None => FamilySource::open(folder, config, weights)?,
        Some(tagger) => FamilySource::within(tagger, folder, config, weights)?,
    };
    let model_type = config.model_type.as_str();
    let of_type = |family: &&Family| family.model_types.contains(&model_type);
    let Some(family) = FAMILIES.iter().filter(of_type).find(|family| (family.is)(&source)) else {
        return Err(match model_type {
            "" => LoadError::invalid(&folder.join("config.json"), "model_type is missing"),
            other => LoadError::unsupported(
                folder,
                format!(
                    "model_type {other} is not served natively ({} are); \
                     put an ONNX export (model.onnx or onnx/model.onnx) in the folder and it will be served",
                    native_model_types().collect::<Vec<_>>().join(", ")
                ),
            ),
        });
    };
    let mut encoder = (family.describe)(&mut source)?;
    source.finish(notes)?;
    let tagger = within.map(|folder| gliner::on(folder, &mut encoder));
    Ok(FamilyEncoder { encoder, experimental: family.experimental, tagger })
}

/// For families whose type nobody else has.
fn always(_: &FamilySource<'_>) -> bool {
    true
}
