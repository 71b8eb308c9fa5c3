//! Modules that only change numbers: each reads its own config.json into a step of the chain.

use std::path::Path;

use serde_json::{Value, json};

use super::{keys::FileKeys, weights::Weights};
use crate::{
    error::LoadError,
    post::{Dense, DenseActivation, LayerNorm, Pool, Residual, SparseTransform, Step},
    task::Pooling,
};

/// What a Dense module works on and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DenseOutput {
    Tokens,
    Vector,
    /// The scores of a cross-encoder.
    Scores,
}

/// Names of what flows between modules.
const VECTOR: &str = "sentence_embedding";
const TOKENS: &str = "token_embeddings";
const SCORES: &str = "scores";

/// The booleans that stood for poolings before `pooling_mode` had them all, in the library's order.
const OLD_MODES: [(&str, Pooling); 6] = [
    ("pooling_mode_cls_token", Pooling::Cls),
    ("pooling_mode_max_tokens", Pooling::Max),
    ("pooling_mode_mean_tokens", Pooling::Mean),
    ("pooling_mode_mean_sqrt_len_tokens", Pooling::MeanSqrtLen),
    ("pooling_mode_weightedmean_tokens", Pooling::WeightedMean),
    ("pooling_mode_lasttoken", Pooling::Last),
];

/// The config.json of the module in `folder`.
fn config(folder: &Path) -> Result<FileKeys, LoadError> {
    let path = folder.join("config.json");
    FileKeys::read(&path)?.ok_or_else(|| LoadError::invalid(&path, "the module's configuration is missing"))
}

/// Pooling, in either spelling.
pub(crate) fn pooling(folder: &Path) -> Result<Pool, LoadError> {
    let mut keys = config(folder)?;
    let mut modes = Vec::new();
    for (key, mode) in OLD_MODES {
        if keys.take::<bool>(key)? == Some(true) {
            modes.push(mode);
        }
    }
    if let Some(named) = keys.take::<Value>("pooling_mode")? {
        let names = match &named {
            Value::Array(names) => names.clone(),
            one => vec![one.clone()],
        };
        let mode = |name: &Value| name.as_str().and_then(Pooling::named);
        modes = names.iter().map(mode).collect::<Option<Vec<_>>>().filter(|m| !m.is_empty()).ok_or_else(|| {
            keys.refused("pooling_mode", &named, "cls, max, mean, mean_sqrt_len_tokens, weightedmean and lasttoken are")
        })?;
    }
    if modes.is_empty() {
        modes.push(Pooling::Mean);
    }
    let include_prompt = keys.take("include_prompt")?.unwrap_or(true);
    // Sizes are checked against the weights, which are the truth.
    keys.take::<usize>("word_embedding_dimension")?;
    keys.take::<usize>("embedding_dimension")?;
    keys.none_left()?;
    Ok(Pool { modes, include_prompt })
}

/// Dense. `tokens`: what the module works on where its configuration does not say; `identity`: it has no activation
/// where none is named.
pub(crate) fn dense(folder: &Path, tokens: bool, identity: bool) -> Result<(Dense, DenseOutput), LoadError> {
    let mut keys = config(folder)?;
    let (inputs, outputs) = (keys.need::<usize>("in_features")?, keys.need::<usize>("out_features")?);
    let has_bias = keys.take("bias")?.unwrap_or(true);
    let activation = match keys.take::<String>("activation_function")? {
        None if identity => DenseActivation::Identity,
        // What sentence-transformers takes where nothing is said.
        None => DenseActivation::Tanh,
        Some(path) => DenseActivation::named(&path).ok_or_else(|| {
            keys.refused(
                "activation_function",
                &json!(path),
                "Identity, Tanh, ReLU, GELU, SiLU, Sigmoid, LeakyReLU and ELU of torch.nn are",
            )
        })?,
    };
    let input = keys.one_of("module_input_name", &[VECTOR, TOKENS])?;
    let input = input.unwrap_or_else(|| if tokens { TOKENS } else { VECTOR }.to_owned());
    let output = keys.take::<String>("module_output_name")?.unwrap_or_else(|| input.clone());
    let output = match (input.as_str(), output.as_str()) {
        (TOKENS, TOKENS) => DenseOutput::Tokens,
        (VECTOR, VECTOR) => DenseOutput::Vector,
        (VECTOR, SCORES) => DenseOutput::Scores,
        _ => {
            let why = format!("{VECTOR} to {VECTOR} or {SCORES}, and {TOKENS} to {TOKENS} are");
            return Err(keys.refused("module_output_name", &json!(output), &why));
        }
    };
    let residual = keys.take("use_residual")?.unwrap_or(false);
    keys.none_left()?;
    let weights = Weights::open(folder)?;
    let residual = match residual {
        false => Residual::None,
        true if inputs == outputs => Residual::Input,
        true => Residual::Product(weights.get("residual.weight", &[outputs, inputs])?.data),
    };
    let weight = weights.get("linear.weight", &[outputs, inputs])?.data;
    let bias = if has_bias { Some(weights.get("linear.bias", &[outputs])?.data) } else { None };
    Ok((Dense { inputs, outputs, weight, bias, activation, residual }, output))
}

/// LayerNorm of the vector.
pub(crate) fn layer_norm(folder: &Path) -> Result<LayerNorm, LoadError> {
    let mut keys = config(folder)?;
    let dimension = keys.need::<usize>("dimension")?;
    keys.none_left()?;
    let weights = Weights::open(folder)?;
    let get = |name: &str| Ok::<_, LoadError>(weights.get(name, &[dimension])?.data);
    Ok(LayerNorm { weight: get("norm.weight")?, bias: get("norm.bias")? })
}

/// Normalize; its configuration came late, so it may be missing.
pub(crate) fn normalize(folder: &Path) -> Result<Step, LoadError> {
    let Some(mut keys) = FileKeys::read(&folder.join("config.json"))? else { return Ok(Step::Normalize) };
    let input = keys.one_of("module_input_name", &[VECTOR, TOKENS])?.unwrap_or_else(|| VECTOR.to_owned());
    let output = keys.take::<String>("module_output_name")?.unwrap_or_else(|| input.clone());
    if input != output {
        return Err(keys.refused("module_output_name", &json!(output), "only the name of its input is"));
    }
    keys.none_left()?;
    Ok(if input == TOKENS { Step::NormalizeTokens } else { Step::Normalize })
}

/// WordWeights: a weight for each id, in the order of its vocabulary.
pub(crate) fn word_weights(folder: &Path) -> Result<Step, LoadError> {
    let mut keys = config(folder)?;
    let vocab = keys.need::<Vec<String>>("vocab")?;
    let weights = keys.need::<std::collections::BTreeMap<String, f32>>("word_weights")?;
    let unknown = keys.take::<f32>("unknown_word_weight")?.unwrap_or(1.0);
    keys.none_left()?;
    let of =
        |word: &String| weights.get(word).or_else(|| weights.get(&word.to_lowercase())).copied().unwrap_or(unknown);
    Ok(Step::TokenWeights(vocab.iter().map(of).collect()))
}

/// SpladePooling: what a logit becomes, and whether tokens are summed.
pub(crate) fn splade(folder: &Path) -> Result<(SparseTransform, bool), LoadError> {
    let mut keys = config(folder)?;
    let sum = keys.one_of("pooling_strategy", &["max", "sum"])?.as_deref() == Some("sum");
    let twice = keys.one_of("activation_function", &["relu", "log1p_relu"])?.as_deref() == Some("log1p_relu");
    keys.take::<usize>("word_embedding_dimension")?;
    keys.take::<usize>("embedding_dimension")?;
    // How many tokens are done at a time.
    keys.take::<i64>("chunk_size")?;
    keys.none_left()?;
    Ok((if twice { SparseTransform::LogLog } else { SparseTransform::Log }, sum))
}
