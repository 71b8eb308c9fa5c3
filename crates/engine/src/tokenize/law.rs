//! What the tokenizer classes of transformers make of a folder's files: the vocabulary and the added tokens are the
//! files', every step around them is the class's own.
//!
//! | class | normalizer | split | model | special tokens |
//! | --- | --- | --- | --- | --- |
//! | BERT, MPNet | BERT's, by three keys | BERT's | WordPiece of `##`, 100 characters | `[CLS] a [SEP] b [SEP]`; RoBERTa's |
//! | RoBERTa | none | byte level | BPE | `<s> a </s></s> b </s>` |
//! | XLM-RoBERTa, CamemBERT | the file's SentencePiece map | spaces, `▁` | Unigram | the same |

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::folder::{BertRules, Law, TokenizerRules, token_content};

/// Longest word of WordPiece, in characters; a longer one is unknown.
const WORD_CHARS: usize = 100;

/// Text of each special token where no file names it.
const BERT_TOKENS: [(&str, &str); 5] = [
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
const MPNET_TOKENS: [(&str, &str); 7] = [
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("sep_token", "</s>"),
    ("cls_token", "<s>"),
    ("unk_token", "[UNK]"),
    ("pad_token", "<pad>"),
    ("mask_token", "<mask>"),
];
const ROBERTA_TOKENS: [(&str, &str); 7] = [
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("sep_token", "</s>"),
    ("cls_token", "<s>"),
    ("unk_token", "<unk>"),
    ("pad_token", "<pad>"),
    ("mask_token", "<mask>"),
];

/// Changes a parsed `tokenizer.json` to what the folder's class makes of it.
///
/// # Errors
/// Where the class cannot read it, with what to do.
pub(super) fn apply(file: &mut Value, rules: &TokenizerRules) -> Result<(), String> {
    let law = match fits(rules.law, &file["model"]) {
        true => rules.law,
        // Without a class of its own the folder was not made for this one.
        false if rules.class.is_none() => Law::File,
        false => {
            let class = rules.class.as_deref().unwrap_or_default();
            return Err(format!(
                "a {} model does not go with the tokenizer_class {class} of tokenizer_config.json; \
                 PreTrainedTokenizerFast reads tokenizer.json as it is",
                kind(&file["model"])
            ));
        }
    };
    let mut tokens = Tokens::of(file, rules, law);
    match law {
        Law::File => {}
        Law::Bert(bert) => {
            let unknown = tokens.text("unk_token");
            bert_steps(file, bert, unknown);
            let (cls, sep) = (tokens.special("cls_token")?, tokens.special("sep_token")?);
            file["post_processor"] = template(&cls, &sep, false);
        }
        Law::Mpnet(bert) => {
            let unknown = tokens.text("unk_token");
            bert_steps(file, bert, unknown);
            let (cls, sep) = (tokens.special("cls_token")?, tokens.special("sep_token")?);
            file["post_processor"] = roberta_processor(&cls, &sep, false);
        }
        Law::Roberta { add_prefix_space } => {
            file["normalizer"] = Value::Null;
            file["pre_tokenizer"] = json!({
                "type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": true,
            });
            let model = &mut file["model"];
            for (key, value) in [
                ("type", json!("BPE")),
                ("dropout", Value::Null),
                ("unk_token", Value::Null),
                ("continuing_subword_prefix", json!("")),
                ("end_of_word_suffix", json!("")),
                ("fuse_unk", json!(false)),
                ("byte_fallback", json!(false)),
                ("ignore_merges", json!(false)),
            ] {
                model[key] = value;
            }
            let (cls, sep) = (tokens.special("cls_token")?, tokens.special("sep_token")?);
            file["post_processor"] = roberta_processor(&cls, &sep, add_prefix_space);
        }
        Law::XlmRoberta { add_prefix_space } | Law::Camembert { add_prefix_space } => {
            file["normalizer"] = precompiled(&file["normalizer"]);
            let scheme = if add_prefix_space { "always" } else { "never" };
            file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
                {"type": "WhitespaceSplit"},
                {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true},
            ]});
            let unknown = match law {
                Law::Camembert { .. } => tokens.id(&tokens.text("unk_token")).unwrap_or(0),
                // The class has it fixed.
                _ => 3,
            };
            file["model"]["type"] = json!("Unigram");
            file["model"]["unk_id"] = json!(unknown);
            file["model"]["byte_fallback"] = json!(false);
            let (bos, eos) = (tokens.special("bos_token")?, tokens.special("eos_token")?);
            file["post_processor"] = template(&bos, &eos, true);
        }
    }
    file["added_tokens"] = Value::Array(tokens.list());
    Ok(())
}

/// Whether a class reads a file with this model. BERT's take the words of any vocabulary.
fn fits(law: Law, model: &Value) -> bool {
    match law {
        Law::File => true,
        Law::Bert(_) | Law::Mpnet(_) => model["vocab"].is_object(),
        Law::Roberta { .. } => kind(model) == "BPE",
        Law::XlmRoberta { .. } | Law::Camembert { .. } => kind(model) == "Unigram",
    }
}

/// What a model is; older files do not say.
fn kind(model: &Value) -> &str {
    match model["type"].as_str() {
        Some(kind) => kind,
        None if model["vocab"].is_array() => "Unigram",
        None if model["merges"].is_array() => "BPE",
        None if !model["max_input_chars_per_word"].is_null() => "WordPiece",
        None => "WordLevel",
    }
}

fn bert_steps(file: &mut Value, bert: BertRules, unknown: String) {
    file["normalizer"] = json!({
        "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": bert.chinese_chars,
        "strip_accents": bert.strip_accents, "lowercase": bert.lowercase,
    });
    file["pre_tokenizer"] = json!({"type": "BertPreTokenizer"});
    let vocab = file["model"]["vocab"].take();
    file["model"] = json!({
        "type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
        "max_input_chars_per_word": WORD_CHARS, "vocab": vocab,
    });
}

/// The SentencePiece map of a normalizer, wherever it stands in it.
fn precompiled(normalizer: &Value) -> Value {
    let is = |part: &&Value| part["type"] == "Precompiled";
    if is(&normalizer) {
        return normalizer.clone();
    }
    normalizer["normalizers"].as_array().and_then(|parts| parts.iter().find(is)).cloned().unwrap_or(Value::Null)
}

/// One special token: its text and id.
type Special = (String, u32);

/// `first a last`, and for pairs `first a last b last`, or with `double` `first a last last b last` in one segment.
fn template(first: &Special, last: &Special, double: bool) -> Value {
    let special = |token: &Special, segment: u32| json!({"SpecialToken": {"id": token.0, "type_id": segment}});
    let text = |name: &str, segment: u32| json!({"Sequence": {"id": name, "type_id": segment}});
    let second = u32::from(!double);
    let mut pair = vec![special(first, 0), text("A", 0), special(last, 0)];
    if double {
        pair.push(special(last, 0));
    }
    pair.extend([text("B", second), special(last, second)]);
    let mut tokens = Map::new();
    for (token, id) in [first, last] {
        tokens.insert(token.clone(), json!({"id": token, "ids": [id], "tokens": [token]}));
    }
    json!({
        "type": "TemplateProcessing", "single": [special(first, 0), text("A", 0), special(last, 0)], "pair": pair,
        "special_tokens": tokens,
    })
}

fn roberta_processor(cls: &Special, sep: &Special, add_prefix_space: bool) -> Value {
    json!({
        "type": "RobertaProcessing", "sep": [sep.0, sep.1], "cls": [cls.0, cls.1], "trim_offsets": true,
        "add_prefix_space": add_prefix_space,
    })
}

/// The added tokens of a file, as its class has them.
struct Tokens<'a> {
    by_id: BTreeMap<u32, Value>,
    rules: &'a TokenizerRules,
    defaults: &'static [(&'static str, &'static str)],
    /// Ids of the model's vocabulary that are asked for.
    vocabulary: BTreeMap<String, u32>,
}

impl<'a> Tokens<'a> {
    fn of(file: &Value, rules: &'a TokenizerRules, law: Law) -> Self {
        let defaults: &[(&str, &str)] = match law {
            Law::File => &[],
            Law::Bert(_) => &BERT_TOKENS,
            Law::Mpnet(_) => &MPNET_TOKENS,
            Law::Roberta { .. } | Law::XlmRoberta { .. } | Law::Camembert { .. } => &ROBERTA_TOKENS,
        };
        let mut by_id = BTreeMap::new();
        // A class that builds its steps anew starts from the list of tokenizer_config.json, where there is one.
        if law == Law::File || rules.added.is_none() {
            for token in file["added_tokens"].as_array().into_iter().flatten() {
                if let Some(id) = token["id"].as_u64().and_then(|id| u32::try_from(id).ok()) {
                    by_id.insert(id, token.clone());
                }
            }
        }
        let named = rules.named.values().chain(&rules.extra).chain(rules.added.iter().flat_map(BTreeMap::values));
        let wanted = named.filter_map(token_content).chain(defaults.iter().map(|(_, text)| *text));
        let vocabulary = wanted.filter_map(|t| Some((t.to_owned(), id_in(&file["model"]["vocab"], t)?))).collect();
        let mut this = Self { by_id, rules, defaults, vocabulary };
        for (id, token) in rules.added.iter().flatten() {
            this.put(token, Some(*id), true);
        }
        for token in rules.named.values().chain(&rules.extra) {
            this.put(token, None, false);
        }
        for (name, text) in defaults {
            if !rules.named.contains_key(name) {
                let lstrip = matches!(law, Law::Mpnet(_) | Law::Camembert { .. }) && *name == "mask_token";
                let token = json!({
                    "content": text, "single_word": false, "lstrip": lstrip, "rstrip": false, "normalized": false,
                    "special": true,
                });
                this.put(&token, None, false);
            }
        }
        this
    }

    /// Adds a token, or with `replace` sets what one of the same text is like. One that has no id is left out: the model
    /// has no row for it.
    fn put(&mut self, token: &Value, id: Option<u32>, replace: bool) {
        let Some(text) = token_content(token) else { return };
        let there = self.by_id.iter().find(|(_, t)| token_content(t) == Some(text)).map(|(id, _)| *id);
        let Some(at) = there.or_else(|| self.vocabulary.get(text).copied()).or(id) else { return };
        if there.is_none() || replace {
            let mut token = token.clone();
            token["id"] = json!(at);
            self.by_id.insert(at, token);
        }
    }

    /// Text of a special token.
    fn text(&self, name: &str) -> String {
        let usual = self.defaults.iter().find(|(n, _)| *n == name).map_or("", |(_, text)| text);
        self.rules.token(name).unwrap_or(usual).to_owned()
    }

    fn id(&self, text: &str) -> Option<u32> {
        let added = self.by_id.iter().find(|(_, t)| token_content(t) == Some(text)).map(|(id, _)| *id);
        added.or_else(|| self.vocabulary.get(text).copied())
    }

    /// A special token that must be there.
    fn special(&self, name: &str) -> Result<Special, String> {
        let text = self.text(name);
        match self.id(&text) {
            Some(id) => Ok((text, id)),
            None => Err(format!(
                "it has no token {text:?}, the {name} of its class; name it in tokenizer_config.json, or the class \
                 PreTrainedTokenizerFast, which reads tokenizer.json as it is"
            )),
        }
    }

    fn list(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.by_id).into_values().collect()
    }
}

/// Id of a token in a model's vocabulary.
fn id_in(vocabulary: &Value, text: &str) -> Option<u32> {
    let id = match vocabulary {
        Value::Object(ids) => ids.get(text)?.as_u64()?,
        Value::Array(pieces) => pieces.iter().position(|piece| piece[0] == text)? as u64,
        _ => return None,
    };
    u32::try_from(id).ok()
}

/// A `tokenizer.json` out of a `vocab.txt`, a token a line, for BERT's classes; `None` for others.
pub(super) fn of_word_list(text: &str, rules: &TokenizerRules) -> Option<Value> {
    if !matches!(rules.law, Law::Bert(_) | Law::Mpnet(_)) {
        return None;
    }
    // Of two lines of one text the latter counts, and every line takes a number.
    let vocab: Map<String, Value> =
        text.lines().enumerate().map(|(id, line)| (line.trim_end().to_owned(), json!(id))).collect();
    Some(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "WordPiece", "vocab": vocab},
    }))
}
