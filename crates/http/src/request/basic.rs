//! Keys that browsers send: the password of HTTP Basic (RFC 7617).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};

/// How the pair of name and password is introduced, in any case.
const BASIC: &str = "basic ";

/// The password that `authorization: Basic` has, which is the key; whatever the user's name is. A browser asks for it and sends it
/// along, so that the page and what it calls need no other way of signing in. Of pages elsewhere nothing is taken by it:
/// bodies must be JSON, which a browser sends to strangers only after asking, and no answer allows it.
#[must_use]
pub fn basic_password(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, pair) = value.split_at_checked(BASIC.len())?;
    if !scheme.eq_ignore_ascii_case(BASIC.as_bytes()) {
        return None;
    }
    let pair = STANDARD.decode(pair.trim_ascii()).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        basic_password(&headers).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn the_password_is_what_follows_the_first_colon() {
        let basic = |pair: &str| password(&format!("Basic {}", STANDARD.encode(pair)));
        assert_eq!(basic("me:k1").as_deref(), Some("k1"));
        assert_eq!(basic(":k:1").as_deref(), Some("k:1"));
        assert_eq!(basic("me:").as_deref(), Some(""));
        assert_eq!(basic("k1"), None);
        assert_eq!(password(&format!("bAsIc  {} ", STANDARD.encode("a:b"))).as_deref(), Some("b"));
        for other in ["Bearer k1", "Basic", "Basic !", "k1"] {
            assert_eq!(password(other), None, "{other}");
        }
        assert_eq!(basic_password(&HeaderMap::new()), None);
    }
}
