//! What sentence-transformers writes beside a model: `modules.json` with its
//! pooling, dense and normalise modules, `sentence_bert_config.json` with the
//! intended length, `config_sentence_transformers.json` with prompts; and
//! `tokenizer_config.json` with the tokenizer's own limit.
//!
//! Longest input = min(sentence_bert max_seq_length, tokenizer model_max_length
//! if sane, positions of the model). Where nothing is said: mean pooling, no
//! normalising (design §3).

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use super::{read_json, read_json_if_there, weights::Weights};
use crate::{
    error::LoadError,
    post::{Dense, DenseActivation},
    task::Pooling,
};

/// Tokenizers write 10^30 where they mean "no limit"; anything above this is not meant.
const SANE_LENGTH: f64 = 1e6;

#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PoolingConfig {
    pooling_mode: Option<Pooling>,
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
    pooling_mode_lasttoken: bool,
}

#[derive(Deserialize)]
struct DenseConfig {
    in_features: usize,
    out_features: usize,
    #[serde(default)]
    bias: Option<bool>,
    #[serde(default)]
    activation_function: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Lengths {
    max_seq_length: Option<f64>,
    model_max_length: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Prompts {
    prompts: BTreeMap<String, Option<String>>,
    default_prompt_name: Option<String>,
}

/// How a folder wants vectors made and texts prepared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sentence {
    /// True where `modules.json` is there: the folder is an embedding model.
    pub(crate) is_sentence_model: bool,
    /// A `SpladePooling` module: a sparse embedding model.
    pub(crate) is_sparse: bool,
    pub(crate) pooling: Pooling,
    pub(crate) dense: Vec<Dense>,
    pub(crate) normalize: bool,
    /// The lengths the files state, the least of them.
    pub(crate) max_length: Option<usize>,
    pub(crate) prompts: Vec<(String, String)>,
    pub(crate) default_prompt: Option<String>,
}

impl Sentence {
    /// Reads what is there; an absent file is no error, a broken one is.
    pub(crate) fn read(folder: &Path) -> Result<Self, LoadError> {
        let mut s = Sentence { max_length: max_length(folder)?, ..Sentence::default() };
        let prompts: Prompts =
            read_json_if_there(&folder.join("config_sentence_transformers.json"))?.unwrap_or_default();
        s.prompts = prompts.prompts.into_iter().filter_map(|(n, t)| Some((n, t?))).collect();
        s.default_prompt = prompts.default_prompt_name.filter(|d| s.prompts.iter().any(|(n, _)| n == d));

        let modules_path = folder.join("modules.json");
        let Some(modules) = read_json_if_there::<Vec<Module>>(&modules_path)? else {
            if let Some(p) = read_json_if_there::<PoolingConfig>(&folder.join("1_Pooling/config.json"))? {
                s.pooling = p.pooling(&folder.join("1_Pooling/config.json"))?;
            }
            return Ok(s);
        };
        s.is_sentence_model = true;
        for module in modules {
            if module.path.split(['/', '\\']).any(|p| p == "..") || Path::new(&module.path).is_absolute() {
                return Err(LoadError::invalid(
                    &modules_path,
                    format!("module path {:?} leaves the folder", module.path),
                ));
            }
            let at = folder.join(&module.path);
            match module.kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" | "MLMTransformer" | "Router" => {}
                "Pooling" => {
                    let path = at.join("config.json");
                    s.pooling = read_json::<PoolingConfig>(&path)?.pooling(&path)?;
                }
                "Dense" => s.dense.push(dense(&at)?),
                "Normalize" => s.normalize = true,
                "Dropout" => {}
                "SpladePooling" => s.is_sparse = true,
                other => {
                    return Err(LoadError::unsupported(
                        &modules_path,
                        format!(
                            "module type {other} is not served; Transformer, Pooling, Dense, Normalize and SpladePooling are"
                        ),
                    ));
                }
            }
        }
        Ok(s)
    }
}

impl PoolingConfig {
    fn pooling(&self, path: &Path) -> Result<Pooling, LoadError> {
        if let Some(p) = self.pooling_mode {
            return Ok(p);
        }
        if self.pooling_mode_mean_sqrt_len_tokens || self.pooling_mode_weightedmean_tokens {
            return Err(LoadError::unsupported(path, "only cls, mean, max and last-token pooling are served"));
        }
        let set = [
            (self.pooling_mode_cls_token, Pooling::Cls),
            (self.pooling_mode_mean_tokens, Pooling::Mean),
            (self.pooling_mode_max_tokens, Pooling::Max),
            (self.pooling_mode_lasttoken, Pooling::Last),
        ];
        let mut chosen = set.iter().filter(|(on, _)| *on).map(|(_, p)| *p);
        match (chosen.next(), chosen.next()) {
            (Some(p), None) => Ok(p),
            (None, _) => Ok(Pooling::default()),
            (Some(_), Some(_)) => Err(LoadError::unsupported(path, "two poolings at once are not served")),
        }
    }
}

fn dense(folder: &Path) -> Result<Dense, LoadError> {
    let path = folder.join("config.json");
    let config: DenseConfig = read_json(&path)?;
    let activation = match config.activation_function.as_deref().map(|a| a.rsplit('.').next().unwrap_or(a)) {
        Some("Identity") => DenseActivation::Identity,
        // Tanh is what sentence-transformers takes where nothing is said.
        None | Some("Tanh") => DenseActivation::Tanh,
        Some("ReLU") => DenseActivation::Relu,
        Some("GELU") => DenseActivation::Gelu,
        Some(other) => return Err(LoadError::unsupported(&path, format!("activation {other} is not served"))),
    };
    let weights = Weights::open(folder)?;
    let weight = weights.get("linear.weight", &[config.out_features, config.in_features])?;
    let bias = match config.bias {
        Some(false) => None,
        _ => Some(weights.get("linear.bias", &[config.out_features])?.data),
    };
    Ok(Dense { inputs: config.in_features, outputs: config.out_features, weight: weight.data, bias, activation })
}

fn max_length(folder: &Path) -> Result<Option<usize>, LoadError> {
    let mut least: Option<usize> = None;
    for name in ["sentence_bert_config.json", "tokenizer_config.json"] {
        let Some(l) = read_json_if_there::<Lengths>(&folder.join(name))? else { continue };
        for n in [l.max_seq_length, l.model_max_length].into_iter().flatten() {
            if (1.0..SANE_LENGTH).contains(&n) {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "checked to lie in 1..10^6"
                )]
                let n = n as usize;
                least = Some(least.map_or(n, |l| l.min(n)));
            }
        }
    }
    Ok(least)
}
