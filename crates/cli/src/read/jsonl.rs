//! One line of JSON Lines as an item.
//!
//! | line | item |
//! | --- | --- |
//! | `"text"` | a text |
//! | `["first", "second"]` | a pair |
//! | `{"id": …, "text": "…"}` | a text; `--field` names another field |
//! | `{"id": …, "first": "…", "second": "…"}` | a pair |
//! | `{"id": …, "tokens": […], "type_ids": […]}` | token ids |
//!
//! Other fields are ignored. Messages name the field at fault.

use serde_json::{Map, Value};

use super::{Body, InputItem, LineFormat};

/// Reads one line.
pub(crate) fn item(line: &str, format: LineFormat<'_>) -> Result<InputItem, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| format!("not valid JSON: {error}"))?;
    let item = match value {
        Value::String(text) => InputItem { id: None, body: Body::Text(text) },
        Value::Array(two) => match <[Value; 2]>::try_from(two) {
            Ok([Value::String(first), Value::String(second)]) => {
                InputItem { id: None, body: Body::Pair(first, second) }
            }
            _ => return Err("an array must hold two strings".to_owned()),
        },
        Value::Object(mut fields) => InputItem { body: body(&mut fields, format)?, id: fields.remove("id") },
        _ => return Err("must be a string, an array of two strings or an object".to_owned()),
    };
    let text_for_pair = format.pair && matches!(item.body, Body::Text(_));
    if text_for_pair { Err("--pair needs fields `first` and `second`".to_owned()) } else { Ok(item) }
}

fn body(fields: &mut Map<String, Value>, format: LineFormat<'_>) -> Result<Body, String> {
    if let Some(tokens) = fields.remove("tokens") {
        let types = fields.remove("type_ids").map_or(Ok(Vec::new()), |types| ids(&types, "type_ids"))?;
        return Ok(Body::Tokens(ids(&tokens, "tokens")?, types));
    }
    if format.pair || (fields.contains_key("first") && !fields.contains_key(format.field)) {
        return Ok(Body::Pair(text(fields, "first")?, text(fields, "second")?));
    }
    text(fields, format.field).map(Body::Text)
}

fn text(fields: &mut Map<String, Value>, field: &str) -> Result<String, String> {
    match fields.remove(field) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("field `{field}` is not a string")),
        None => Err(format!("no field `{field}`")),
    }
}

fn ids(value: &Value, field: &str) -> Result<Vec<u32>, String> {
    let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
    let list = value.as_array().and_then(|list| list.iter().map(id).collect());
    list.ok_or_else(|| format!("field `{field}` is not a list of token ids"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: LineFormat<'_> = LineFormat { pair: false, field: "text", jsonl: true };

    #[test]
    fn every_row_of_the_table() {
        let body = |line: &str| item(line, TEXTS).unwrap().body;
        let pair = || Body::Pair("a".to_owned(), "b".to_owned());
        assert_eq!(body(r#""a\u0000b""#), Body::Text("a\0b".to_owned()));
        assert_eq!(body(r#"["a", "b"]"#), pair());
        assert_eq!(body(r#"{"text": "a", "first": 1}"#), Body::Text("a".to_owned()));
        assert_eq!(body(r#"{"first": "a", "second": "b"}"#), pair());
        assert_eq!(body(r#"{"tokens": [101, 102], "type_ids": [0, 1]}"#), Body::Tokens(vec![101, 102], vec![0, 1]));
        assert_eq!(item(r#"{"id": "x", "text": ""}"#, TEXTS).unwrap().id, Some("x".into()));
    }

    #[test]
    fn faults_name_their_field() {
        let pairs = LineFormat { pair: true, ..TEXTS };
        for (line, format, word) in [
            ("{", TEXTS, "not valid JSON"),
            ("3", TEXTS, "must be a string"),
            (r#"["a"]"#, TEXTS, "two strings"),
            (r#"{"body": "a"}"#, TEXTS, "no field `text`"),
            (r#"{"text": 1}"#, TEXTS, "`text` is not a string"),
            (r#"{"tokens": [-1]}"#, TEXTS, "`tokens`"),
            (r#"{"tokens": [1], "type_ids": 0}"#, TEXTS, "`type_ids`"),
            (r#""a""#, pairs, "`second`"),
            (r#"{"text": "a"}"#, pairs, "no field `first`"),
        ] {
            let error = item(line, format).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
