//! The added tokens of a file as its class has them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::folder::{TokenizerFamily, TokenizerRules, token_content};

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

/// The texts of a family's special tokens.
fn defaults(family: TokenizerFamily) -> &'static [(&'static str, &'static str)] {
    match family {
        TokenizerFamily::File => &[],
        TokenizerFamily::Bert(_) => &BERT_TOKENS,
        TokenizerFamily::Mpnet(_) => &MPNET_TOKENS,
        TokenizerFamily::Roberta { .. } | TokenizerFamily::XlmRoberta { .. } | TokenizerFamily::Camembert { .. } => {
            &ROBERTA_TOKENS
        }
    }
}

/// Text of a special token (`unk_token`, `mask_token`, …): as the folder's files name it, else as its class does.
pub(crate) fn special_text<'a>(rules: &'a TokenizerRules, name: &str) -> Option<&'a str> {
    let usual = || defaults(rules.family).iter().find(|(n, _)| *n == name).map(|(_, text)| *text);
    rules.token(name).or_else(usual)
}

/// One special token: its text and id.
pub(super) type Special = (String, u32);

/// The added tokens of a file, special ones among them, as its class has them.
pub(super) struct SpecialTokens<'a> {
    by_id: BTreeMap<u32, Value>,
    rules: &'a TokenizerRules,
    defaults: &'static [(&'static str, &'static str)],
    /// Ids of the model's vocabulary that are asked for.
    vocabulary: BTreeMap<String, u32>,
}

impl<'a> SpecialTokens<'a> {
    pub(super) fn of(file: &Value, rules: &'a TokenizerRules, family: TokenizerFamily) -> Self {
        let defaults = defaults(family);
        let mut by_id = BTreeMap::new();
        // A class that builds its steps anew starts from the list of tokenizer_config.json, where there is one.
        if family == TokenizerFamily::File || rules.added.is_none() {
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
                let lstrip = matches!(family, TokenizerFamily::Mpnet(_) | TokenizerFamily::Camembert { .. })
                    && *name == "mask_token";
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
    pub(super) fn text(&self, name: &str) -> String {
        let usual = self.defaults.iter().find(|(n, _)| *n == name).map_or("", |(_, text)| text);
        self.rules.token(name).unwrap_or(usual).to_owned()
    }

    pub(super) fn id(&self, text: &str) -> Option<u32> {
        let added = self.by_id.iter().find(|(_, t)| token_content(t) == Some(text)).map(|(id, _)| *id);
        added.or_else(|| self.vocabulary.get(text).copied())
    }

    /// A special token that must be there.
    pub(super) fn special(&self, name: &str) -> Result<Special, String> {
        let text = self.text(name);
        match self.id(&text) {
            Some(id) => Ok((text, id)),
            None => Err(format!(
                "it has no token {text:?}, the {name} of its class; name it in tokenizer_config.json, or the class \
                 PreTrainedTokenizerFast, which reads tokenizer.json as it is"
            )),
        }
    }

    pub(super) fn list(&mut self) -> Vec<Value> {
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
