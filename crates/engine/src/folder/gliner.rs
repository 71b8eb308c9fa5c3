//! `gliner_config.json`: a tagger whose labels come with each request, as the package `gliner` saves it. Source: its `config.py`.
//!
//! Such a folder has no `config.json`: the encoder's configuration stands inside, at `encoder_config`. What the package would
//! fetch from elsewhere (that configuration, the tokenizer) must be in the folder.

use std::path::Path;

use serde_json::{Value, json};

use super::{config::Config, keys::FileKeys, keys::Notes};
use crate::error::LoadError;

/// Name of the file.
const FILE: &str = "gliner_config.json";

/// Before the names of the encoder's tensors.
const ENCODER: &str = "token_rep_layer.bert_layer.model.";

/// Encoders whose answers were compared with the package's.
const ENCODERS: [&str; 3] = ["bert", "deberta-v2", "modernbert"];

/// Most words of a text, label vectors' width and so on: far above any known one, and products of two still fit.
const MOST: usize = 1 << 16;

/// Keys of training, and others that change no answer.
const WITHOUT_EFFECT: [&str; 20] = [
    "_attn_implementation",
    "architectures",
    "dropout",
    "dtype",
    "fine_tune",
    "id_to_classes",
    "labels_decoder_config",
    "labels_encoder_config",
    "max_neg_type_ratio",
    "max_types",
    "model_name",
    "model_type",
    "name",
    "neg_spans_ratio",
    "num_post_fusion_layers",
    "span_loss_coef",
    "token_loss_coef",
    "torch_dtype",
    "transformers_version",
    "triples_layer",
];

/// What a tagger's scores are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScoredParts {
    /// Stretches of up to so many words.
    Spans {
        /// Words in the longest.
        width: usize,
    },
    /// Words: as the first of a stretch, as its last, and as one within.
    Words,
}

/// A tagger whose labels come with each request.
#[derive(Clone, Debug)]
pub(crate) struct TaggerFolder {
    /// Stands before each label.
    pub(crate) label_token: String,
    /// Stands behind the last label.
    pub(crate) end_token: String,
    /// Id of `label_token`; `None` where the file leaves it to the tokenizer.
    pub(crate) label_id: Option<u32>,
    /// A label's vector is the state of the token after `label_token` in place of that token's own.
    pub(crate) reads_label: bool,
    /// A word's vector is the state of its last token in place of its first's.
    pub(crate) reads_last: bool,
    /// Words of a text that are read.
    pub(crate) most_words: usize,
    /// Width of the vectors that are scored.
    pub(crate) hidden: usize,
    /// Layers of two LSTMs, one each way, over the words.
    pub(crate) recurrent_layers: usize,
    pub(crate) scored: ScoredParts,
    /// The encoder's configuration.
    encoder: Value,
    /// Before the names of its tensors.
    pub(crate) encoder_prefix: &'static str,
    path: std::path::PathBuf,
}

impl TaggerFolder {
    /// Reads the file in `root`; `None` where there is none.
    pub(super) fn read(root: &Path, notes: &mut Notes) -> Result<Option<Self>, LoadError> {
        let path = root.join(FILE);
        let Some(mut keys) = FileKeys::read(&path)? else { return Ok(None) };
        refuse_other_kinds(&mut keys)?;
        let name = keys.peek::<String>("model_name")?.unwrap_or_default();
        let Some(encoder) = keys.take::<Value>("encoder_config")? else {
            return Err(whole(
                root,
                &path,
                &format!("encoder_config is missing: the package would fetch that of {name}"),
            ));
        };
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            if !root.join(file).is_file() {
                return Err(whole(
                    root,
                    &root.join(file),
                    &format!("it is missing: the package would fetch that of {name}"),
                ));
            }
        }
        let (hidden, most_words) = (size(&mut keys, "hidden_size", 512)?, size(&mut keys, "max_len", 384)?);
        let width = size(&mut keys, "max_width", 12)?;
        let scored = match keys.take::<String>("span_mode")?.as_deref() {
            None | Some("markerV0") => ScoredParts::Spans { width },
            Some("token_level") => ScoredParts::Words,
            Some(other) => {
                return Err(keys.refused("span_mode", &other.into(), "markerV0 and token_level are"));
            }
        };
        let pooling = keys.one_of("subtoken_pooling", &["first", "last"])?;
        keys.one_of("words_splitter_type", &["whitespace"])?;
        let recurrent_layers = keys.take::<usize>("num_rnn_layers")?.unwrap_or(1);
        if recurrent_layers > MOST || recurrent_layers > 0 && !hidden.is_multiple_of(2) {
            return Err(LoadError::invalid(
                &path,
                format!(
                    "num_rnn_layers is {recurrent_layers} with hidden_size {hidden}: each way has half of the numbers"
                ),
            ));
        }
        if let Some(said) = keys.take::<bool>("has_rnn")?.filter(|&said| said != (recurrent_layers > 0)) {
            return Err(LoadError::invalid(&path, format!("has_rnn is {said}, num_rnn_layers {recurrent_layers}")));
        }
        let label_id = keys.take::<i64>("class_token_index")?.unwrap_or(-1);
        let read = Self {
            label_token: keys.take("ent_token")?.unwrap_or_else(|| "<<ENT>>".to_owned()),
            end_token: keys.take("sep_token")?.unwrap_or_else(|| "<<SEP>>".to_owned()),
            label_id: match label_id {
                -1 => None,
                id => Some(u32::try_from(id).map_err(|_| {
                    LoadError::invalid(&path, format!("class_token_index is {id}, not a token's id, nor -1"))
                })?),
            },
            reads_label: !keys.take::<bool>("embed_ent_token")?.unwrap_or(true),
            reads_last: pooling.as_deref() == Some("last"),
            most_words,
            hidden,
            recurrent_layers,
            scored,
            encoder,
            encoder_prefix: ENCODER,
            path: path.clone(),
        };
        // The table's own rows count.
        keys.forget("vocab_size");
        WITHOUT_EFFECT.iter().for_each(|key| keys.forget(key));
        keys.note_rest(notes);
        Ok(Some(read))
    }

    /// The encoder's configuration as a `config.json`.
    pub(super) fn config(&self) -> Result<Config, LoadError> {
        let config: Config = serde_json::from_value(self.encoder.clone())
            .map_err(|e| LoadError::invalid(&self.path, format!("encoder_config: {e}")))?;
        if ENCODERS.contains(&config.model_type.as_str()) {
            return Ok(config);
        }
        Err(LoadError::unsupported(
            &self.path,
            format!(
                "encoder_config.model_type {:?} is not served in a tagger: {} are",
                config.model_type,
                ENCODERS.join(", ")
            ),
        ))
    }

    /// The keys of that configuration.
    pub(crate) fn encoder_keys(&self) -> Result<FileKeys, LoadError> {
        FileKeys::of(&self.path.join("encoder_config"), self.encoder.clone())
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Refuses the package's other kinds of models.
fn refuse_other_kinds(keys: &mut FileKeys) -> Result<(), LoadError> {
    if let Some(kind) = keys.peek::<String>("model_type")?.filter(|kind| kind == "gliner_streaming_span") {
        return Err(keys.refused("model_type", &kind.into(), "a causal encoder that reads a text as it comes"));
    }
    for (key, why) in [
        ("labels_encoder", "an encoder of its own for labels"),
        ("labels_decoder", "a decoder that writes labels"),
        ("relations_layer", "relations between entities"),
    ] {
        if let Some(value) = keys.take::<Value>(key)? {
            return Err(keys.refused(key, &value, why));
        }
    }
    for key in ["span_encoder_config", "post_fusion_schema"] {
        keys.only(key, &[])?;
    }
    for key in ["fuse_layers", "represent_spans", "precomputed_prompts_mode"] {
        keys.only(key, &[json!(false)])?;
    }
    Ok(())
}

fn size(keys: &mut FileKeys, key: &str, usual: usize) -> Result<usize, LoadError> {
    match keys.take::<usize>(key)? {
        None => Ok(usual),
        Some(n) if (1..=MOST).contains(&n) => Ok(n),
        Some(n) => Err(LoadError::invalid(keys.path(), format!("{key} is {n}, not from 1 to {MOST}"))),
    }
}

/// What is missing, and how the package writes a folder that has it.
fn whole(root: &Path, path: &Path, why: &str) -> LoadError {
    let name = root.display();
    LoadError::unsupported(
        path,
        format!(
            "{why}; have it save the model whole once: python -c \"from gliner import GLiNER; \
             GLiNER.from_pretrained('{name}').save_pretrained('{name}-whole', safe_serialization=True)\""
        ),
    )
}
