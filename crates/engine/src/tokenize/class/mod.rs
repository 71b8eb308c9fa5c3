//! What the tokenizer classes of transformers make of a folder's files: the vocabulary and the added tokens are the
//! files', every step around them is the class's own.
//!
//! | class | normalizer | split | model | special tokens |
//! | --- | --- | --- | --- | --- |
//! | BERT, MPNet | BERT's, by three keys | BERT's | WordPiece of `##`, 100 characters | `[CLS] a [SEP] b [SEP]`; RoBERTa's |
//! | RoBERTa | none | byte level | BPE | `<s> a </s></s> b </s>` |
//! | XLM-RoBERTa, CamemBERT | the file's SentencePiece map | spaces, `▁` | Unigram | the same |

mod tokens;

use serde_json::{Map, Value, json};

pub(crate) use self::tokens::special_text;
use self::tokens::{Special, SpecialTokens};
use crate::folder::{BertRules, TokenizerFamily, TokenizerRules};

/// Longest word of WordPiece, in characters; a longer one is unknown.
const WORD_CHARS: usize = 100;

/// Changes a parsed `tokenizer.json` to what the folder's class makes of it.
///
/// # Errors
/// Where the class cannot read it, with what to do.
pub(super) fn apply(file: &mut Value, rules: &TokenizerRules) -> Result<(), String> {
    let family = match fits(rules.family, &file["model"]) {
        true => rules.family,
        // Without a class of its own the folder was not made for this one.
        false if rules.class.is_none() => TokenizerFamily::File,
        false => {
            let class = rules.class.as_deref().unwrap_or_default();
            return Err(format!(
                "a {} model does not go with the tokenizer_class {class} of tokenizer_config.json; \
                 PreTrainedTokenizerFast reads tokenizer.json as it is",
                kind(&file["model"])
            ));
        }
    };
    let mut tokens = SpecialTokens::of(file, rules, family);
    match family {
        TokenizerFamily::File => {}
        TokenizerFamily::Bert(bert) => {
            let unknown = tokens.text("unk_token");
            bert_steps(file, bert, unknown);
            let (cls, sep) = (tokens.special("cls_token")?, tokens.special("sep_token")?);
            file["post_processor"] = template(&cls, &sep, false);
        }
        TokenizerFamily::Mpnet(bert) => {
            let unknown = tokens.text("unk_token");
            bert_steps(file, bert, unknown);
            let (cls, sep) = (tokens.special("cls_token")?, tokens.special("sep_token")?);
            file["post_processor"] = roberta_processor(&cls, &sep, false);
        }
        TokenizerFamily::Roberta { add_prefix_space } => {
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
        TokenizerFamily::XlmRoberta { add_prefix_space } | TokenizerFamily::Camembert { add_prefix_space } => {
            file["normalizer"] = precompiled(&file["normalizer"]);
            let scheme = if add_prefix_space { "always" } else { "never" };
            file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
                {"type": "WhitespaceSplit"},
                {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true},
            ]});
            let unknown = match family {
                TokenizerFamily::Camembert { .. } => tokens.id(&tokens.text("unk_token")).unwrap_or(0),
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
fn fits(family: TokenizerFamily, model: &Value) -> bool {
    match family {
        TokenizerFamily::File => true,
        TokenizerFamily::Bert(_) | TokenizerFamily::Mpnet(_) => model["vocab"].is_object(),
        TokenizerFamily::Roberta { .. } => kind(model) == "BPE",
        TokenizerFamily::XlmRoberta { .. } | TokenizerFamily::Camembert { .. } => kind(model) == "Unigram",
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

/// A `tokenizer.json` out of a `vocab.txt`, a token a line, for BERT's classes; `None` for others.
pub(super) fn of_word_list(text: &str, rules: &TokenizerRules) -> Option<Value> {
    if !matches!(rules.family, TokenizerFamily::Bert(_) | TokenizerFamily::Mpnet(_)) {
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
