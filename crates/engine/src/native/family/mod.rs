//! The encoder families the native path serves: their dimensions, and what they
//! call their tensors.
//!
//! All are the same post-norm transformer: embeddings → layer norm → layers of
//! (attention → add & norm → feed-forward → add & norm). They differ in names, in
//! where positions start, and in whether embeddings are narrower than the rest.

use std::path::Path;

use super::run::PositionSegments;
use crate::{
    error::LoadError,
    folder::{config::Config, weights::Weights},
};

/// Families served. Everything else is an error that names the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Bert,
    /// RoBERTa, XLM-RoBERTa, CamemBERT: positions start past the pad id.
    Roberta,
    DistilBert,
    /// Embeddings may be narrower, then projected.
    Electra,
}

/// Every `model_type` that is served natively, with its family.
const MODEL_TYPES: [(&str, Family); 6] = [
    ("bert", Family::Bert),
    ("roberta", Family::Roberta),
    ("xlm-roberta", Family::Roberta),
    ("camembert", Family::Roberta),
    ("distilbert", Family::DistilBert),
    ("electra", Family::Electra),
];

/// Every `model_type` that the native path serves from safetensors; others need an ONNX export.
pub fn native_model_types() -> impl Iterator<Item = &'static str> {
    MODEL_TYPES.iter().map(|(name, _)| *name)
}

/// Pointwise activation of a feed-forward layer or head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pointwise {
    /// `x·Φ(x)`, by the error function.
    Gelu,
    /// The tanh form of GELU.
    GeluTanh,
    Relu,
    Silu,
    Tanh,
}

/// Most rows of the table that positions and segments become at load. Models have two segments or one, and up to 8,192
/// positions.
const MOST_PLACES: usize = 131_072;

/// Dimensions and names of one encoder.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    pub(crate) family: Family,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) inner: usize,
    /// Width of the embeddings.
    pub(crate) narrow: usize,
    pub(crate) vocab: usize,
    /// Rows of the position table.
    pub(crate) positions: usize,
    /// Row of the first token's position.
    pub(crate) first_position: usize,
    /// Rows of the segment table; 0 where there is none.
    pub(crate) segments: usize,
    pub(crate) eps: f32,
    pub(crate) act: Pointwise,
    /// Id of the pad token, where a text may spell it out: it then has the pad's own position.
    pub(crate) pad: Option<u32>,
    /// Sequences may end in tokens that are not attended to.
    pub(crate) unseen: bool,
    /// Put before encoder tensor names, for example `bert.`.
    pub(crate) prefix: String,
}

impl Encoder {
    /// Tokens in the longest sequence its positions allow.
    pub(crate) fn longest(&self) -> usize {
        self.positions - self.first_position
    }

    /// How the places of its tokens are counted.
    pub(crate) fn numbering(&self) -> PositionSegments {
        PositionSegments { first: self.first_position, segments: self.segments.max(1), pad: self.pad }
    }

    /// Weights of its layers: four products of the attention and two of the feed-forward part each. Biases and norms are
    /// left out, a thousandth of them.
    pub(crate) fn layer_parameters(&self) -> u64 {
        (self.layers * self.hidden * (4 * self.hidden + 2 * self.inner)) as u64
    }

    /// Reads the dimensions, or says why this model is not served natively.
    pub(crate) fn read(folder: &Path, config: &Config, weights: &Weights) -> Result<Self, LoadError> {
        let path = folder.join("config.json");
        let family = family(folder, config)?;
        let hidden = config.need(folder, "hidden_size", config.hidden_size)?;
        let heads = config.need(folder, "num_attention_heads", config.num_attention_heads)?;
        if hidden % heads != 0 {
            return Err(LoadError::invalid(
                &path,
                format!("hidden_size {hidden} is no multiple of num_attention_heads {heads}"),
            ));
        }
        if let Some(kind) = config.position_embedding_type.as_deref().filter(|k| *k != "absolute") {
            return Err(LoadError::unsupported(
                &path,
                format!("position_embedding_type {kind} is not served natively; an ONNX export of the model will be"),
            ));
        }
        config.refuse_unserved(folder)?;
        if config.is_decoder {
            return Err(LoadError::unsupported(&path, "is_decoder is set; only encoders are served"));
        }
        let positions = config.need(folder, "max_position_embeddings", config.max_position_embeddings)?;
        let first_position = match family {
            Family::Roberta => {
                let pad = config.pad_token_id.unwrap_or(1);
                usize::try_from(pad).map_err(|_| LoadError::invalid(&path, format!("pad_token_id is {pad}")))? + 1
            }
            _ => 0,
        };
        if first_position >= positions {
            return Err(LoadError::invalid(
                &path,
                format!("max_position_embeddings {positions} leaves no room past pad_token_id"),
            ));
        }
        let segments = match family {
            Family::DistilBert => 0,
            _ => config.need(folder, "type_vocab_size", Some(config.type_vocab_size.unwrap_or(2)))?,
        };
        if segments > 1 && positions.saturating_mul(segments) > MOST_PLACES {
            return Err(LoadError::unsupported(
                &path,
                format!(
                    "max_position_embeddings {positions} times type_vocab_size {segments} is more than {MOST_PLACES}, \
                     the most that is served natively; an ONNX export of the model will be"
                ),
            ));
        }
        let eps = match family {
            // Fixed in that family's code.
            Family::DistilBert => 1e-12,
            _ => config.layer_norm_eps.unwrap_or(1e-12),
        };
        let act = config.hidden_act.as_deref().unwrap_or("gelu");
        #[expect(clippy::cast_possible_truncation, reason = "an epsilon needs no more than f32")]
        let encoder = Encoder {
            family,
            hidden,
            layers: config.need(folder, "num_hidden_layers", config.num_hidden_layers)?,
            heads,
            inner: config.need(folder, "intermediate_size", config.intermediate_size)?,
            narrow: match family {
                Family::Electra => {
                    config.need(folder, "embedding_size", Some(config.embedding_size.unwrap_or(hidden)))?
                }
                _ => hidden,
            },
            vocab: config.need(folder, "vocab_size", config.vocab_size)?,
            positions,
            first_position,
            segments,
            eps: eps as f32,
            pad: match family {
                Family::Roberta => config.pad_token_id.map_or(Some(1), |pad| u32::try_from(pad).ok()),
                _ => None,
            },
            unseen: false,
            act: Pointwise::named(act).ok_or_else(|| {
                LoadError::unsupported(
                    &path,
                    format!("hidden_act {act} is not served natively; an ONNX export of the model will be"),
                )
            })?,
            prefix: prefix(family, weights),
        };
        Ok(encoder)
    }

    /// Name of an encoder tensor.
    pub(crate) fn tensor(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Names of one layer's tensors.
    pub(crate) fn layer(&self, i: usize) -> LayerNames {
        let name = |bert: &str, distil: &str| match self.family {
            Family::DistilBert => self.tensor(&format!("transformer.layer.{i}.{distil}")),
            _ => self.tensor(&format!("encoder.layer.{i}.{bert}")),
        };
        LayerNames {
            query: name("attention.self.query", "attention.q_lin"),
            key: name("attention.self.key", "attention.k_lin"),
            value: name("attention.self.value", "attention.v_lin"),
            attended: name("attention.output.dense", "attention.out_lin"),
            attended_norm: name("attention.output.LayerNorm", "sa_layer_norm"),
            up: name("intermediate.dense", "ffn.lin1"),
            down: name("output.dense", "ffn.lin2"),
            down_norm: name("output.LayerNorm", "output_layer_norm"),
        }
    }
}

/// What one layer's tensors are called, without `.weight` and `.bias`.
pub(crate) struct LayerNames {
    pub(crate) query: String,
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) attended: String,
    pub(crate) attended_norm: String,
    pub(crate) up: String,
    pub(crate) down: String,
    pub(crate) down_norm: String,
}

impl Pointwise {
    /// By its name in `config.json`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "gelu" => Pointwise::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Pointwise::GeluTanh,
            "relu" => Pointwise::Relu,
            "silu" | "swish" => Pointwise::Silu,
            "tanh" => Pointwise::Tanh,
            _ => return None,
        })
    }
}

impl Family {
    /// By `model_type`.
    pub(crate) fn of(model_type: &str) -> Option<Self> {
        MODEL_TYPES.iter().find(|(name, _)| *name == model_type).map(|(_, family)| *family)
    }
}

fn family(folder: &Path, config: &Config) -> Result<Family, LoadError> {
    Family::of(&config.model_type).ok_or_else(|| match config.model_type.as_str() {
        "" => LoadError::invalid(&folder.join("config.json"), "model_type is missing"),
        other => LoadError::unsupported(
            folder,
            format!(
                "model_type {other} is not served natively ({} are); \
                 put an ONNX export (model.onnx or onnx/model.onnx) in the folder and it will be served",
                native_model_types().collect::<Vec<_>>().join(", ")
            ),
        ),
    })
}

/// Bare encoders have no prefix; those inside a head have their family's.
fn prefix(family: Family, weights: &Weights) -> String {
    let name = match family {
        Family::Bert => "bert.",
        Family::Roberta => "roberta.",
        Family::DistilBert => "distilbert.",
        Family::Electra => "electra.",
    };
    if weights.has(&format!("{name}embeddings.word_embeddings.weight")) { name.into() } else { String::new() }
}
