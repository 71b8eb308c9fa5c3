//! The short way of BERT files: plain ASCII needs no tables of Unicode.
//!
//! `BertNormalizer` looks every character up in tables of control characters,
//! marks and decompositions, which takes most of the time of a WordPiece file. On
//! ASCII all it can do is to drop control characters, turn tabs and line ends into
//! spaces, and lower the case. So a text of ASCII without control characters is
//! normalized here, and a second pipeline without a normalizer makes its ids:
//!
//! ```text
//! normalized(text) = lower case of text, \t \n \r as spaces
//!     where every byte is one of them or printable, and no added token stands in it
//! ```
//!
//! A text of words in ASCII and others is cut where the one kind ends and the other
//! begins ([`Short::segments`]), since nothing that `BertNormalizer` and `BertPreTokenizer` do reaches past a space.
//!
//! Invariant: the ids are those of the file's own normalizer. Added tokens are looked
//! for before the case is lowered, so a text that holds one in any case goes the long way; a file with an
//! added token of anything but printable ASCII has no short way, nor has one with a space in an added token,
//! which could be found where a text has a tab or the end of a line.

use std::{array, borrow::Cow};

use serde_json::Value;
use tokenizers_rc::pipeline::PipelineTokenizer;

/// A byte that stays as it is.
const STAYS: u8 = 0;
/// A byte that becomes another one.
const CHANGES: u8 = 1;
/// A byte that an added token may begin with.
const BEGINS: u8 = 2;
/// A byte that this module does not know what to do with.
const FOREIGN: u8 = 4;

/// Bytes of ASCII words in a row that are worth a segment of their own: to start one takes as long as some twenty
/// characters on the long way.
const LEAST_SEGMENT: usize = 48;

/// Added tokens that are looked for at each place where one may begin: BERT's files have five.
const MOST_ADDED: usize = 64;

/// The short way of one file.
pub(super) struct Short {
    pub(super) pipeline: PipelineTokenizer,
    rules: Rules,
}

impl Short {
    /// The short way of `file`, if it has one. `read` makes a pipeline of a file.
    pub(super) fn of<E>(
        file: &Value,
        read: impl FnOnce(Value) -> Result<PipelineTokenizer, E>,
    ) -> Result<Option<Self>, E> {
        let Some(rules) = Rules::of(file) else { return Ok(None) };
        let mut file = file.clone();
        if let Some(normalizer) = file.get_mut("normalizer") {
            *normalizer = Value::Null;
        }
        Ok(Some(Self { pipeline: read(file)?, rules }))
    }

    /// Cuts `text` where words of plain ASCII end and others begin. ASCII between others is cut out where there is
    /// enough of it.
    pub(super) fn segments<'t>(&self, text: &'t str) -> Vec<&'t str> {
        if text.is_ascii() {
            return vec![text];
        }
        segments(text)
    }

    /// `text` as the file's normalizer leaves it; `None` where that is for the normalizer itself to do.
    pub(super) fn normalized<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        self.rules.normalized(text)
    }
}

/// What becomes of the bytes of a text.
struct Rules {
    classes: [u8; 256],
    lowercase: bool,
    added: Vec<Box<[u8]>>,
}

impl Rules {
    fn of(file: &Value) -> Option<Self> {
        let normalizer = &file["normalizer"];
        let words = file["pre_tokenizer"]["type"] == "BertPreTokenizer";
        if !words || normalizer["type"] != "BertNormalizer" || normalizer["clean_text"] != true {
            return None;
        }
        let added = file["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
        let added = added.iter().map(|token| token["content"].as_str().filter(|t| t.bytes().all(is_printable)));
        let added: Vec<Box<[u8]>> = added.map(|token| token.map(|t| t.as_bytes().into())).collect::<Option<_>>()?;
        if added.len() > MOST_ADDED || added.iter().any(|t| t.is_empty() || t.contains(&b' ')) {
            return None;
        }
        let lowercase = normalizer["lowercase"] == true;
        let begins = |byte: u8| added.iter().any(|t| t.first().is_some_and(|first| first.eq_ignore_ascii_case(&byte)));
        let class = |byte: u8| match byte {
            b'\t' | b'\n' | b'\r' => CHANGES,
            byte if !is_printable(byte) => FOREIGN,
            byte => {
                let case = if lowercase && byte.is_ascii_uppercase() { CHANGES } else { STAYS };
                case | if begins(byte) { BEGINS } else { STAYS }
            }
        };
        let classes = array::from_fn(|byte| u8::try_from(byte).map_or(FOREIGN, class));
        Some(Self { classes, lowercase, added })
    }

    fn class(&self, byte: u8) -> u8 {
        self.classes.get(usize::from(byte)).copied().unwrap_or(FOREIGN)
    }

    fn normalized<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        let all = text.bytes().fold(STAYS, |all, byte| all | self.class(byte));
        if all & FOREIGN != 0 || (all & BEGINS != 0 && self.holds_added(text.as_bytes())) {
            return None;
        }
        if all & CHANGES == 0 {
            return Some(text.into());
        }
        let spaced = text.bytes().map(|byte| if is_printable(byte) { byte } else { b' ' });
        let bytes = if self.lowercase { spaced.map(|b| b.to_ascii_lowercase()).collect() } else { spaced.collect() };
        String::from_utf8(bytes).ok().map(Cow::Owned)
    }

    /// Whether an added token stands in `text`, in any case.
    fn holds_added(&self, text: &[u8]) -> bool {
        let here = |rest: &[u8]| {
            self.added.iter().any(|t| rest.get(..t.len()).is_some_and(|start| start.eq_ignore_ascii_case(t)))
        };
        let places = text.iter().enumerate().filter(|&(_, &byte)| self.class(byte) & BEGINS != 0);
        places.into_iter().any(|(at, _)| text.get(at..).is_some_and(here))
    }
}

fn segments(text: &str) -> Vec<&str> {
    let mut segments = Vec::new();
    let (mut start, mut at, mut plain) = (0, 0, true);
    // ASCII bytes just before `at`.
    let mut tail = 0;
    let mut cut = |start: usize, end: usize| segments.extend(text.get(start..end).filter(|s| !s.is_empty()));
    for word in text.split_inclusive([' ', '\t', '\n', '\r']) {
        let is_plain = word.is_ascii();
        if plain && !is_plain && tail >= LEAST_SEGMENT {
            cut(start, at);
            start = at;
        }
        at += word.len();
        tail = if is_plain { tail + word.len() } else { 0 };
        if !plain && tail >= LEAST_SEGMENT {
            cut(start, at - tail);
            start = at - tail;
        }
        plain = is_plain && (plain || tail >= LEAST_SEGMENT);
    }
    cut(start, at);
    segments
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(lowercase: bool, added: &str) -> Value {
        json!({"added_tokens": [{"id": 0, "content": "[UNK]"}, {"id": 1, "content": added}],
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": lowercase}})
    }

    #[test]
    fn only_printable_ascii_and_ends_of_lines_take_the_short_way() {
        let rules = Rules::of(&file(true, "[SEP]")).unwrap();
        assert!(matches!(rules.normalized("a plain {text}, 100%~"), Some(Cow::Borrowed("a plain {text}, 100%~"))));
        assert_eq!(rules.normalized("A\tB\r\nc[1]\n"), Some("a b  c[1] ".into()));
        assert_eq!(rules.normalized(""), Some("".into()));
        for text in ["a\0", "\u{7f}", "\u{b}", "\u{1f}", "caf\u{e9}", "it\u{2019}s", "\u{85}", "\u{fffd}"] {
            assert_eq!(rules.normalized(text), None, "{text:?}");
        }
        let cased = Rules::of(&file(false, "[SEP]")).unwrap();
        assert!(matches!(cased.normalized("As It Is"), Some(Cow::Borrowed("As It Is"))));
        assert_eq!(cased.normalized("As\nIt"), Some("As It".into()));
    }

    #[test]
    fn a_text_is_cut_where_plain_words_end() {
        let plain = "the quick brown fox jumps over the lazy dog and runs on ";
        assert!(plain.len() >= LEAST_SEGMENT);
        let text = |parts: &[&str]| parts.concat();
        for parts in [
            &["caf\u{e9} "][..],
            &[plain, "caf\u{e9} "],
            &["caf\u{e9}\n", plain, "it\u{2019}s so "],
            // Too little ASCII to be worth a cut.
            &["few words and a caf\u{e9} and more, it\u{2019}s so "],
            &["\u{301} ", plain, "\u{301}\t", plain],
        ] {
            assert_eq!(segments(&text(parts)), parts);
        }
        assert_eq!(segments(plain), [plain]);
    }

    proptest::proptest! {
        #[test]
        fn segments_are_the_text(text in "([a-z ]{0,60}|[ \u{e9}\u{4e00}]{1,3}|\\PC{0,9}){0,9}") {
            assert_eq!(segments(&text).concat(), text);
        }
    }

    #[test]
    fn a_text_with_an_added_token_in_any_case_goes_the_long_way() {
        let rules = Rules::of(&file(true, "magicword")).unwrap();
        for text in ["a [UNK] b", "[unk]", "say the MagicWord", "magicword", "[[UNK]"] {
            assert_eq!(rules.normalized(text), None, "{text:?}");
        }
        for text in ["a [unknown b", "[un]", "magic word", "magi", ""] {
            assert!(rules.normalized(text).is_some(), "{text:?}");
        }
    }

    #[test]
    fn other_files_have_no_short_way() {
        assert!(Rules::of(&file(true, "[SEP]")).is_some());
        // Normalized, the first is found where plain ASCII stands.
        for added in ["\u{e9}", "two\nlines", "two words", " ", ""] {
            assert!(Rules::of(&file(true, added)).is_none(), "{added:?}");
        }
        let mut unclean = file(true, "[SEP]");
        unclean["normalizer"]["clean_text"] = json!(false);
        assert!(Rules::of(&unclean).is_none());
        for (part, value) in [
            ("normalizer", json!({"type": "NFC"})),
            ("normalizer", Value::Null),
            ("pre_tokenizer", json!({"type": "Metaspace"})),
        ] {
            let mut other = file(true, "[SEP]");
            other[part] = value;
            assert!(Rules::of(&other).is_none(), "{part}");
        }
    }
}
