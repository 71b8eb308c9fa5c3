//! Bodies: JSON, within the limit, straight from bytes into the type that a route reads.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use serde_json::error::Category;

use crate::failure::{FailureKind, HttpFailure};

/// Characters of a reader's complaint that are shown: it may quote the value it did not like.
const SHOWN_CHARACTERS: usize = 400;

/// Most memory that is taken for a body before any of it has come: whoever tells a length need not send as much.
const MOST_EXPECTED: usize = 1 << 20;

/// Takes a JSON body of at most `limit` bytes.
pub(super) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, HttpFailure> {
    check_type(headers)?;
    let too_large =
        || HttpFailure::new(FailureKind::BodyTooLarge, format!("the body is too large; max_body_bytes is {limit}"));
    let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|bytes| bytes > limit as u64) {
        return Err(too_large());
    }
    let mut body = Limited::new(body, limit);
    let expected = told.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
    let mut whole = BytesMut::with_capacity(expected.min(MOST_EXPECTED));
    while let Some(frame) = body.frame().await {
        match frame {
            // Copied while it is warm, and its memory goes back to the connection, which reads the next piece into it.
            Ok(frame) => whole.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
            Err(error) => {
                let why = format!("the body did not come whole: {error}");
                return Err(HttpFailure::new(FailureKind::Syntax, why));
            }
        }
    }
    Ok(whole.freeze())
}

/// Only JSON is read. That also keeps forms of other sites' pages out.
fn check_type(headers: &HeaderMap) -> Result<(), HttpFailure> {
    let refused = |message: String| Err(HttpFailure::new(FailureKind::MediaType, message));
    if let Some(encoding) = headers.get(CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return refused("content-encoding: bodies are read as they are; send them without compression".to_owned());
    }
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
    if json { Ok(()) } else { refused(format!("content-type is {value:?}; send application/json")) }
}

/// Reads a body.
///
/// # Errors
/// [`FailureKind::Syntax`] for what is no JSON, [`FailureKind::Shape`] for JSON of another shape, with the field.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, HttpFailure> {
    // Checked as a whole, and not string by string: a body is mostly text, and that takes a third of reading it.
    let read = match simdutf8::basic::from_utf8(body) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(body),
    };
    let error = match read {
        Ok(read) => return Ok(read),
        Err(error) => error,
    };
    if error.classify() != Category::Data {
        return Err(HttpFailure::new(
            FailureKind::Syntax,
            format!("the body is no JSON: {}", shown(&error.to_string())),
        ));
    }
    // Once more, slower, for the path: only what is refused pays for it.
    let reader = &mut serde_json::Deserializer::from_slice(body);
    let path = serde_path_to_error::deserialize::<_, T>(reader).err().map(|error| error.path().to_string());
    let message = shown(&error.to_string());
    match path.filter(|path| path != "." && path != "?") {
        Some(path) => Err(HttpFailure::new(FailureKind::Shape, format!("`{path}`: {message}")).at(path)),
        None => Err(HttpFailure::new(FailureKind::Shape, message)),
    }
}

fn shown(message: &str) -> String {
    match message.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(value: &str) -> Result<(), HttpFailure> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, value.parse().unwrap());
        check_type(&headers)
    }

    #[test]
    fn only_json_is_read() {
        for value in
            ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/problem+json"]
        {
            assert!(typed(value).is_ok(), "{value}");
        }
        for value in ["text/plain", "application/x-www-form-urlencoded", "application/jsonl", ""] {
            assert_eq!(typed(value).unwrap_err().kind, FailureKind::MediaType, "{value}");
        }
        assert!(check_type(&HeaderMap::new()).is_err());
    }

    #[test]
    fn what_is_wrong_is_told_apart_and_named() {
        #[derive(Debug, Deserialize)]
        struct Read {
            #[serde(rename = "list")]
            _list: Vec<u32>,
        }
        let error = parse::<Read>(b"{\"list\":[1,\"x\"]}").unwrap_err();
        assert_eq!((error.kind, error.field.as_deref()), (FailureKind::Shape, Some("list[1]")));
        assert_eq!(parse::<Read>(b"{\"list\":[1").unwrap_err().kind, FailureKind::Syntax);
        assert_eq!(parse::<Read>(b"").unwrap_err().kind, FailureKind::Syntax);
        let error = parse::<Read>(b"{}").unwrap_err();
        assert!(error.kind == FailureKind::Shape && error.message.contains("list"), "{}", error.message);
    }

    #[test]
    fn complaints_stay_short() {
        let long = format!("{{\"list\":\"{}\"}}", "é".repeat(100_000));
        #[derive(Debug, Deserialize)]
        struct Read {
            #[serde(rename = "list")]
            _list: Vec<u32>,
        }
        assert!(parse::<Read>(long.as_bytes()).unwrap_err().message.len() < 1_000);
    }
}
