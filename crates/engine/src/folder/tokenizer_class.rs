//! Which family of tokenizer classes a folder's is of.
//!
//! transformers 5 picks a class first: the one that `tokenizer_config.json` names, else the one that the configuration
//! names, else the one of the model's type. Classes of a family build every step anew around the vocabulary of
//! `tokenizer.json`; the general classes take the file as it is. [`TokenizerFamily`] says which, and `tokenize::class`
//! does it.

use serde_json::json;

use super::keys::FileKeys;
use crate::error::LoadError;

/// Types of models whose class is BERT's, where none is named.
const BERT_TYPES: [&str; 9] =
    ["bert", "distilbert", "electra", "nomic_bert", "convbert", "ernie", "megatron-bert", "nezha", "squeezebert"];

/// Types of models that transformers reads by the file alone, whichever class of a family is named.
const GENERAL_TYPES: [&str; 4] = ["modernbert", "modernbert-decoder", "xlm-roberta-xl", "qwen2"];

/// Classes that make ids of a text in one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TokenizerFamily {
    /// `tokenizer.json`.
    #[default]
    File,
    /// BERT's class: WordPiece behind BERT's normalizer.
    Bert(BertRules),
    /// MPNet's: the same with RoBERTa's special tokens.
    Mpnet(BertRules),
    /// RoBERTa's: byte-level BPE.
    Roberta { add_prefix_space: bool },
    /// XLM-RoBERTa's: SentencePiece.
    XlmRoberta { add_prefix_space: bool },
    /// CamemBERT's: the same, with the unknown token found by its name.
    Camembert { add_prefix_space: bool },
}

impl TokenizerFamily {
    /// Name of the family's class in transformers; `None` where `tokenizer.json` decides.
    pub(crate) fn class(self) -> Option<&'static str> {
        match self {
            TokenizerFamily::File => None,
            TokenizerFamily::Bert(_) => Some("BertTokenizer"),
            TokenizerFamily::Mpnet(_) => Some("MPNetTokenizer"),
            TokenizerFamily::Roberta { .. } => Some("RobertaTokenizer"),
            TokenizerFamily::XlmRoberta { .. } => Some("XLMRobertaTokenizer"),
            TokenizerFamily::Camembert { .. } => Some("CamembertTokenizer"),
        }
    }
}

/// Settings of BERT's normalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BertRules {
    pub(crate) lowercase: bool,
    pub(crate) strip_accents: Option<bool>,
    pub(crate) chinese_chars: bool,
}

/// Keys of BERT's classes as they are written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BertSettings {
    pub(super) lowercase: Option<bool>,
    pub(super) strip_accents: Option<bool>,
    pub(super) chinese_chars: Option<bool>,
}

/// The family of a class, else of a model's type.
pub(super) fn family_of(
    class: Option<&str>,
    model_type: &str,
    settings: BertSettings,
    prefix: Option<bool>,
) -> TokenizerFamily {
    let bert = BertRules {
        lowercase: settings.lowercase.unwrap_or(true),
        strip_accents: settings.strip_accents,
        chinese_chars: settings.chinese_chars.unwrap_or(true),
    };
    let class = match class {
        Some(_) if GENERAL_TYPES.contains(&model_type) => return TokenizerFamily::File,
        Some(class) => class.strip_suffix("Fast").unwrap_or(class),
        None if BERT_TYPES.contains(&model_type) => "BertTokenizer",
        None => match model_type {
            "mpnet" => "MPNetTokenizer",
            "roberta" | "roberta-prelayernorm" | "data2vec-text" | "longformer" => "RobertaTokenizer",
            "xlm-roberta" => "XLMRobertaTokenizer",
            "camembert" => "CamembertTokenizer",
            _ => "",
        },
    };
    match class {
        "BertTokenizer"
        | "DistilBertTokenizer"
        | "ElectraTokenizer"
        | "ConvBertTokenizer"
        | "DPRContextEncoderTokenizer"
        | "DPRQuestionEncoderTokenizer" => TokenizerFamily::Bert(bert),
        "MPNetTokenizer" => TokenizerFamily::Mpnet(bert),
        "RobertaTokenizer" => TokenizerFamily::Roberta { add_prefix_space: prefix.unwrap_or(false) },
        "XLMRobertaTokenizer" => TokenizerFamily::XlmRoberta { add_prefix_space: prefix.unwrap_or(true) },
        "CamembertTokenizer" => TokenizerFamily::Camembert { add_prefix_space: prefix.unwrap_or(true) },
        _ => TokenizerFamily::File,
    }
}

/// Refuses settings of classes that are read from the file as it is, though transformers would build them anew.
pub(super) fn refuse_by_class(
    keys: &mut FileKeys,
    class: Option<&str>,
    settings: BertSettings,
) -> Result<(), LoadError> {
    let class = class.map(|c| c.strip_suffix("Fast").unwrap_or(c));
    // The usual value of each: anything else is not what a usual tokenizer.json of the class does.
    let (lowercase, others): (bool, &[(&str, bool)]) = match class {
        Some("DebertaV2Tokenizer") => (false, &[("split_by_punct", false)]),
        Some("AlbertTokenizer") => (true, &[("keep_accents", false)]),
        _ => return Ok(()),
    };
    let why = "save the tokenizer with it, under the class PreTrainedTokenizerFast";
    if settings.lowercase.is_some_and(|is| is != lowercase) {
        return Err(keys.refused("do_lower_case", &json!(settings.lowercase), why));
    }
    for (key, usual) in others {
        if let Some(is) = keys.take::<bool>(key)?
            && is != *usual
        {
            return Err(keys.refused(key, &json!(is), why));
        }
    }
    Ok(())
}
