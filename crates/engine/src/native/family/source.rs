//! What a family's file reads: the configuration, key by key, and the names of the tensors that are there.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    encoder::Segments,
    parts::{Linear, Norm, NormKind, Pointwise, Taken, TensorRows},
};
use crate::{
    error::LoadError,
    folder::{
        TaggerFolder,
        config::Config,
        keys::{FileKeys, Notes},
        weights::Weights,
    },
};

/// Keys of rotary positions, which are read once for each kind of layer.
const ROPE_KEYS: [&str; 4] = ["rope_theta", "rope_scaling", "rope_parameters", "rope_local_base_freq"];

/// Keys of a configuration that change no answer of an encoder, whatever its family.
const WITHOUT_EFFECT: [&str; 44] = [
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_implementation",
    "auto_map",
    "bos_token_id",
    "classifier_dropout",
    "cls_token_id",
    "directionality",
    "dtype",
    "embedding_dropout",
    "eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "id2label",
    "initializer_cutoff_factor",
    "initializer_factor",
    "initializer_range",
    "label2id",
    "mask_token_id",
    "mlp_dropout",
    "model_type",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "pad_token_id",
    "pooler_dropout",
    "pretraining_tp",
    "problem_type",
    "reference_compile",
    "resid_pdrop",
    "return_dict",
    "sbert_ce_default_activation_function",
    "sentence_transformers",
    "sep_token_id",
    "tie_word_embeddings",
    "tokenizer_class",
    "torch_dtype",
    "transformers_version",
    "use_bfloat16",
    "use_cache",
    "use_return_dict",
];

/// Largest size that a configuration may name: far above any known one, and products of two still fit.
const MOST: usize = 1 << 24;
/// Most layers, ten times what the deepest known encoder has.
const MOST_LAYERS: usize = 1 << 10;
/// Longest text: what the longest published ones have. Rotations are kept for so many places.
const MOST_TOKENS: usize = 131_072;

/// A folder as a family's file reads it.
pub(crate) struct FamilySource<'a> {
    pub(super) folder: &'a Path,
    pub(super) config: &'a Config,
    /// Keys of `config.json` that nobody has read yet.
    pub(super) keys: FileKeys,
    pub(super) weights: &'a Weights,
    /// Before the names of all tensors, where the encoder is part of another model.
    base: &'static str,
    /// Before the names of the encoder's tensors, for example `bert.`.
    prefix: String,
}

impl<'a> FamilySource<'a> {
    /// The folder's `config.json` and its tensors.
    pub(super) fn open(folder: &'a Path, config: &'a Config, weights: &'a Weights) -> Result<Self, LoadError> {
        let path = folder.join("config.json");
        let keys = FileKeys::read(&path)?.ok_or_else(|| LoadError::invalid(&path, "it is missing"))?;
        Ok(Self { folder, config, keys, weights, base: "", prefix: String::new() })
    }

    /// The encoder within a tagger: its configuration stands in the tagger's, its tensors behind a prefix.
    pub(super) fn within(
        tagger: &TaggerFolder,
        folder: &'a Path,
        config: &'a Config,
        weights: &'a Weights,
    ) -> Result<Self, LoadError> {
        let (keys, base) = (tagger.encoder_keys()?, tagger.encoder_prefix);
        Ok(Self { folder, config, keys, weights, base, prefix: base.to_owned() })
    }

    /// Takes the first of these prefixes before which a tensor of this name is stored, else none.
    pub(super) fn set_prefix(&mut self, prefixes: &[&str], tensor: &str) {
        let base = self.base;
        let stored = prefixes.iter().find(|prefix| self.weights.has(&format!("{base}{prefix}{tensor}")));
        self.prefix = format!("{base}{}", stored.copied().unwrap_or_default());
    }

    /// Name of an encoder's tensor.
    pub(super) fn tensor(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Whether the encoder has a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.weights.has(&self.tensor(name))
    }

    /// Takes a key.
    pub(super) fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, LoadError> {
        self.keys.take(key)
    }

    /// Reads a key that is read again.
    pub(super) fn peek<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, LoadError> {
        self.keys.peek(key)
    }

    /// The keys of an object that stands at `key`.
    pub(super) fn object(&self, key: &str, value: Value) -> Result<FileKeys, LoadError> {
        self.keys.object(key, value)
    }

    /// A number above 0 under the first of these names that is there.
    pub(super) fn size(&mut self, names: &[&str]) -> Result<usize, LoadError> {
        let found = self.size_if_there(names)?;
        found.ok_or_else(|| LoadError::invalid(self.keys.path(), format!("{} is missing", names.join(" or "))))
    }

    /// A number above 0 under the first of these names that is there, if one is. All of them must agree.
    pub(super) fn size_if_there(&mut self, names: &[&str]) -> Result<Option<usize>, LoadError> {
        let mut found = None;
        for name in names {
            let Some(size) = self.take::<usize>(name)? else { continue };
            if size == 0 || size > MOST {
                let why = format!("{name} is {size}, not from 1 to {MOST}");
                return Err(LoadError::invalid(self.keys.path(), why));
            }
            match found {
                Some((other, there)) if there != size => {
                    return Err(LoadError::invalid(
                        self.keys.path(),
                        format!("{name} is {size}, but {other} is {there}"),
                    ));
                }
                _ => found = Some((name, size)),
            }
        }
        Ok(found.map(|(_, size)| size))
    }

    /// How many layers there are.
    pub(super) fn layers(&mut self, names: &[&str]) -> Result<usize, LoadError> {
        let layers = self.size(names)?;
        if layers > MOST_LAYERS {
            let why = format!("{layers} layers, at most {MOST_LAYERS} are served");
            return Err(LoadError::unsupported(self.keys.path(), why));
        }
        Ok(layers)
    }

    /// Tokens in the longest text, where no table ends it; of longer ones [`MOST_TOKENS`] are read.
    pub(super) fn longest(&mut self, names: &[&str]) -> Result<usize, LoadError> {
        Ok(self.size(names)?.min(MOST_TOKENS))
    }

    /// Heads of keys and values, as many as of queries where nothing is said.
    pub(super) fn kv_heads(&mut self, heads: usize) -> Result<usize, LoadError> {
        let kv_heads = self.size_if_there(&["num_key_value_heads"])?.unwrap_or(heads);
        if heads.is_multiple_of(kv_heads) {
            return Ok(kv_heads);
        }
        Err(LoadError::invalid(
            self.keys.path(),
            format!("num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}"),
        ))
    }

    /// The table of segments, where one is stored; `type_vocab_size` says how many rows it has, or 0 that it is none.
    pub(super) fn segments(&mut self) -> Result<Option<Segments>, LoadError> {
        let name = self.tensor("embeddings.token_type_embeddings.weight");
        let rows = self.take::<usize>("type_vocab_size")?.or_else(|| self.weights.rows(&name));
        Ok(rows.filter(|&rows| rows > 0).map(|rows| Segments { name, rows }))
    }

    /// An epsilon under any of these names, else `default`. All that are there must agree.
    pub(super) fn eps(&mut self, names: &[&str], default: f32) -> Result<f32, LoadError> {
        let mut found: Option<(&str, f32)> = None;
        for name in names {
            let Some(eps) = self.take::<f32>(name)? else { continue };
            match found {
                Some((other, there)) if there != eps => {
                    let why = format!("{name} is {eps:e}, but {other} is {there:e}");
                    return Err(LoadError::invalid(self.keys.path(), why));
                }
                _ => found = Some((name, eps)),
            }
        }
        Ok(found.map_or(default, |(_, eps)| eps))
    }

    /// An activation under `key`, else `default`.
    pub(super) fn act(&mut self, key: &str, default: Pointwise) -> Result<Pointwise, LoadError> {
        match self.take::<String>(key)? {
            None => Ok(default),
            Some(name) => Pointwise::named(&name).ok_or_else(|| self.not_native(key, &name)),
        }
    }

    /// Refuses keys whose values are not these, nor empty, nor missing.
    pub(super) fn only(&mut self, keys: &[(&str, &[Value])]) -> Result<(), LoadError> {
        keys.iter().try_for_each(|(key, harmless)| self.keys.only(key, harmless))
    }

    /// Id of the pad token, where one is named.
    pub(super) fn pad(&self) -> Option<u32> {
        self.config.pad_token_id.and_then(|id| u32::try_from(id).ok())
    }

    /// Refuses a flag that is set.
    pub(super) fn unset(&mut self, keys: &[&str]) -> Result<(), LoadError> {
        keys.iter().try_for_each(|key| self.keys.only(key, &[Value::Bool(false)]))
    }

    /// Forgets keys that change nothing.
    pub(super) fn without_effect(&mut self, keys: &[&str]) {
        keys.iter().for_each(|key| self.keys.forget(key));
    }

    /// The error about a value that only an export can serve.
    pub(super) fn not_native(&self, key: &str, value: &str) -> LoadError {
        LoadError::unsupported(
            self.keys.path(),
            format!("{key} {value} is not served natively; an ONNX export of the model will be"),
        )
    }

    /// Width of a head: `hidden / heads`, which must be whole.
    pub(super) fn head_size(&self, hidden: usize, heads: usize) -> Result<usize, LoadError> {
        if hidden.is_multiple_of(heads) {
            return Ok(hidden / heads);
        }
        Err(LoadError::invalid(
            self.keys.path(),
            format!("hidden_size {hidden} is no multiple of num_attention_heads {heads}"),
        ))
    }

    /// A product with a bias.
    pub(super) fn biased(&self, name: &str, from: usize, to: usize) -> Linear {
        product(&self.tensor(name), from, to, true)
    }

    /// A product whose bias is added where one is stored.
    pub(super) fn linear(&self, name: &str, from: usize, to: usize) -> Linear {
        product(&self.tensor(name), from, to, self.has(&format!("{name}.bias")))
    }

    /// A product by some rows of a stored one of `stored` rows, with theirs of its bias where one is stored.
    pub(super) fn part(&self, name: &str, from: usize, stored: usize, taken: Taken) -> Linear {
        let rows = |end: &str| TensorRows { name: self.tensor(&format!("{name}.{end}")), stored, taken: taken.clone() };
        let bias = self.has(&format!("{name}.bias")).then(|| rows("bias"));
        Linear { weight: rows("weight"), bias, from }
    }

    /// Queries, keys and values that are stored as one, one after the other.
    pub(super) fn thirds(&self, name: &str, from: usize, each: usize) -> [Linear; 3] {
        [0, 1, 2].map(|i| self.part(name, from, 3 * each, Taken::From { first: i * each, rows: each }))
    }

    /// A layer norm with weight and bias, which checkpoints that were converted from TensorFlow call gamma and beta.
    pub(super) fn layer_norm(&self, name: &str, eps: f32) -> Norm {
        layer_norm(self.weights, &self.tensor(name), eps)
    }

    /// A layer norm whose bias is added where one is stored.
    pub(super) fn bare_layer_norm(&self, name: &str, eps: f32) -> Norm {
        let name = self.tensor(name);
        let bias = format!("{name}.bias");
        Norm {
            kind: NormKind::Layer,
            weight: format!("{name}.weight"),
            bias: self.weights.has(&bias).then_some(bias),
            eps,
        }
    }

    /// An RMS norm.
    pub(super) fn rms(&self, kind: NormKind, name: &str, eps: f32) -> Norm {
        Norm { kind, weight: self.tensor(&format!("{name}.weight")), bias: None, eps }
    }

    /// Refuses keys that no family serves, and keeps those that nobody has read as notes.
    pub(super) fn finish(mut self, notes: &mut Notes) -> Result<(), LoadError> {
        self.config.refuse_unserved(self.folder)?;
        if self.config.is_decoder {
            return Err(LoadError::unsupported(self.keys.path(), "is_decoder is set; only encoders are served"));
        }
        ROPE_KEYS.iter().chain(&WITHOUT_EFFECT).for_each(|key| self.keys.forget(key));
        for key in ["is_decoder", "add_cross_attention", "pruned_heads", "quantization_config", "compression_config"] {
            self.keys.forget(key);
        }
        self.keys.note_rest(notes);
        Ok(())
    }
}

/// A product by a whole tensor.
pub(super) fn product(name: &str, from: usize, to: usize, has_bias: bool) -> Linear {
    let rows = |end: &str| TensorRows { name: format!("{name}.{end}"), stored: to, taken: Taken::All };
    Linear { weight: rows("weight"), bias: has_bias.then(|| rows("bias")), from }
}

/// [`FamilySource::layer_norm`] outside the encoder.
pub(super) fn layer_norm(weights: &Weights, name: &str, eps: f32) -> Norm {
    let [weight, bias] = if weights.has(&format!("{name}.gamma")) { ["gamma", "beta"] } else { ["weight", "bias"] };
    Norm { kind: NormKind::Layer, weight: format!("{name}.{weight}"), bias: Some(format!("{name}.{bias}")), eps }
}
