//! `input` as OpenAI has it: a text, a list of texts, a list of token ids or a list of those. TEI's `inputs` is the same.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

/// What to embed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EmbedInput {
    /// Texts; one that stood alone is a list of one.
    Texts(Vec<String>),
    /// Sequences of ids; a list of plain numbers is one sequence.
    Ids(Vec<Vec<u32>>),
}

impl EmbedInput {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            EmbedInput::Texts(texts) => texts.len(),
            EmbedInput::Ids(ids) => ids.len(),
        }
    }
}

/// An element of the list.
enum InputElement {
    Text(String),
    Id(u32),
    Ids(Vec<u32>),
}

impl<'de> Deserialize<'de> for InputElement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = InputElement;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a token id or a list of token ids")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<InputElement, E> {
                Ok(InputElement::Text(text.to_owned()))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<InputElement, E> {
                Ok(InputElement::Text(text))
            }

            fn visit_u64<E: Error>(self, id: u64) -> Result<InputElement, E> {
                u32::try_from(id).map(InputElement::Id).map_err(|_| E::custom(format!("{id} is no token id")))
            }

            fn visit_i64<E: Error>(self, id: i64) -> Result<InputElement, E> {
                Err(E::custom(format!("{id} is no token id")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<InputElement, A::Error> {
                let mut ids = Vec::new();
                while let Some(id) = seq.next_element()? {
                    ids.push(id);
                }
                Ok(InputElement::Ids(ids))
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

impl<'de> Deserialize<'de> for EmbedInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = EmbedInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a list of texts, a list of token ids or a list of lists of token ids")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<EmbedInput, E> {
                Ok(EmbedInput::Texts(vec![text.to_owned()]))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<EmbedInput, E> {
                Ok(EmbedInput::Texts(vec![text]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<EmbedInput, A::Error> {
                let mixed = || A::Error::custom("texts and token ids in one list");
                let mut read = match seq.next_element()? {
                    None => return Ok(EmbedInput::Texts(Vec::new())),
                    Some(InputElement::Text(text)) => EmbedInput::Texts(vec![text]),
                    Some(InputElement::Ids(ids)) => EmbedInput::Ids(vec![ids]),
                    Some(InputElement::Id(first)) => {
                        let mut ids = vec![first];
                        while let Some(element) = seq.next_element()? {
                            let InputElement::Id(id) = element else { return Err(mixed()) };
                            ids.push(id);
                        }
                        return Ok(EmbedInput::Ids(vec![ids]));
                    }
                };
                while let Some(element) = seq.next_element()? {
                    match (&mut read, element) {
                        (EmbedInput::Texts(texts), InputElement::Text(text)) => texts.push(text),
                        (EmbedInput::Ids(all), InputElement::Ids(ids)) => all.push(ids),
                        _ => return Err(mixed()),
                    }
                }
                Ok(read)
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<EmbedInput, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_is_read() {
        let texts = |texts: &[&str]| EmbedInput::Texts(texts.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(read("\"a\""), Ok(texts(&["a"])));
        assert_eq!(read(r#"["a", "é\n"]"#), Ok(texts(&["a", "é\n"])));
        assert_eq!(read("[1, 2]"), Ok(EmbedInput::Ids(vec![vec![1, 2]])));
        assert_eq!(read("[[1], [2, 3], []]"), Ok(EmbedInput::Ids(vec![vec![1], vec![2, 3], vec![]])));
        assert_eq!(read("[]"), Ok(texts(&[])));
    }

    #[test]
    fn what_is_mixed_or_no_id_is_refused() {
        for json in
            [r#"["a", 1]"#, r#"[1, "a"]"#, "[[1], 2]", "[1, [2]]", "[-1]", "[4294967296]", "[1.5]", "[null]", "{}", "7"]
        {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
