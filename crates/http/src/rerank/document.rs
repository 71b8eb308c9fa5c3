//! Documents as clients send them: texts, or objects that hold a text.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::failure::HttpFailure;

/// Fields of an object that are no text: what they hold would count for the score, and is not read.
const NOT_SERVED: [&str; 6] = ["image", "image_url", "images", "video", "audio", "content"];

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RerankDocument {
    /// A text.
    Text(String),
    /// Its texts by name, in the order sent.
    Fields(Vec<(String, String)>),
}

impl RerankDocument {
    /// The text to read: that of an object is its `text`, or the texts of `rank_fields`, a line each, in the order asked.
    ///
    /// # Errors
    /// With a sentence, where the object has none of them.
    pub(super) fn into_text(self, rank_fields: Option<&[String]>) -> Result<String, String> {
        let mut fields = match self {
            RerankDocument::Text(text) => return Ok(text),
            RerankDocument::Fields(fields) => fields,
        };
        let mut take = |name: &str| {
            let at = fields.iter().position(|(field, _)| field == name)?;
            Some(fields.swap_remove(at).1)
        };
        match rank_fields {
            None => {
                take("text").ok_or_else(|| "an object needs `text`, or name its fields in `rank_fields`".to_owned())
            }
            Some(names) => {
                let texts: Vec<String> = names.iter().filter_map(|name| take(name)).collect();
                if texts.is_empty() { Err("has none of `rank_fields`".to_owned()) } else { Ok(texts.join("\n")) }
            }
        }
    }
}

impl<'de> Deserialize<'de> for RerankDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = RerankDocument;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or an object with `text`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RerankDocument, E> {
                Ok(RerankDocument::Text(text.to_owned()))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<RerankDocument, E> {
                Ok(RerankDocument::Text(text))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RerankDocument, A::Error> {
                let mut fields = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    match map.next_value::<TextOrNot>()? {
                        TextOrNot::Null => {}
                        _ if NOT_SERVED.contains(&name.as_str()) => {
                            return Err(A::Error::custom(format!("`{name}` is not served; only texts are read")));
                        }
                        TextOrNot::Text(text) => fields.push((name, text)),
                        TextOrNot::Other if name == "text" => {
                            return Err(A::Error::custom("`text` of a document is no string"));
                        }
                        TextOrNot::Other => {}
                    }
                }
                Ok(RerankDocument::Fields(fields))
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

/// A value of which only a text is kept.
enum TextOrNot {
    Text(String),
    Null,
    Other,
}

impl<'de> Deserialize<'de> for TextOrNot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = TextOrNot;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<TextOrNot, E> {
                Ok(TextOrNot::Text(text.to_owned()))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<TextOrNot, E> {
                Ok(TextOrNot::Text(text))
            }

            fn visit_unit<E: Error>(self) -> Result<TextOrNot, E> {
                Ok(TextOrNot::Null)
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<TextOrNot, E> {
                Ok(TextOrNot::Other)
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<TextOrNot, E> {
                Ok(TextOrNot::Other)
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<TextOrNot, E> {
                Ok(TextOrNot::Other)
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<TextOrNot, E> {
                Ok(TextOrNot::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<TextOrNot, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(TextOrNot::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TextOrNot, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(TextOrNot::Other)
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

/// A list of documents, or one text (vLLM).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Documents(Vec<RerankDocument>);

impl Documents {
    /// Their texts; `field` is what the body calls them.
    pub(crate) fn into_texts(self, field: &str, rank_fields: Option<&[String]>) -> Result<Vec<String>, HttpFailure> {
        let text = |(index, document): (usize, RerankDocument)| {
            document.into_text(rank_fields).map_err(|why| HttpFailure::field(format!("{field}[{index}]"), why))
        };
        self.0.into_iter().enumerate().map(text).collect()
    }
}

impl<'de> Deserialize<'de> for Documents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = Documents;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts or of objects with `text`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Documents, E> {
                Ok(Documents(vec![RerankDocument::Text(text.to_owned())]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Documents, A::Error> {
                let mut documents = Vec::new();
                while let Some(document) = seq.next_element()? {
                    documents.push(document);
                }
                Ok(Documents(documents))
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Vec<String>, String> {
        let documents: Documents = serde_json::from_str(json).map_err(|error| error.to_string())?;
        documents.0.into_iter().map(|document| document.into_text(None)).collect()
    }

    #[test]
    fn texts_and_objects_are_read() {
        let json = r#"["a", {"text": "b"}, {"title": 1, "image": null, "text": "c", "more": {"x": [1, null]}}]"#;
        assert_eq!(read(json).unwrap(), ["a", "b", "c"]);
        assert_eq!(read("\"alone\"").unwrap(), ["alone"]);
    }

    #[test]
    fn what_is_not_read_is_refused_by_name() {
        assert!(read(r#"[{"text": "a", "image": "x.png"}]"#).unwrap_err().contains("image"));
        assert!(read(r#"[{"title": "a"}]"#).unwrap_err().contains("rank_fields"));
        assert!(read(r#"[{"text": 7}]"#).unwrap_err().contains("text"));
        assert!(read("[1]").unwrap_err().contains("a text or an object"));
    }

    #[test]
    fn rank_fields_are_read_in_their_order() {
        let document: RerankDocument = serde_json::from_str(r#"{"body": "b", "title": "t", "other": "o"}"#).unwrap();
        let names = ["title".to_owned(), "body".to_owned(), "absent".to_owned()];
        assert_eq!(document.clone().into_text(Some(&names)).unwrap(), "t\nb");
        assert!(document.into_text(Some(&names[2..])).is_err());
    }
}
