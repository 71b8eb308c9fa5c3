//! Names and the digests of their keys.

use std::{fmt, sync::Arc};

use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

/// Bytes of a SHA-256 digest.
const DIGEST_BYTES: usize = 32;

/// What introduces a digest instead of a key.
const DIGEST_PREFIX: &str = "sha256:";

/// Fewer bytes than this can be guessed.
const LEAST_KEY_BYTES: usize = 16;

/// Longest name: it becomes a tenant, which travels in log lines.
const MOST_NAME_BYTES: usize = 128;

/// Names by the digests of their keys.
pub(super) struct KeyRing(Vec<([u8; DIGEST_BYTES], Arc<str>)>);

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.0.len())
    }
}

impl KeyRing {
    /// Reads lines of `name:key` or `name:sha256:digest`. What is wrong is named by its line, never shown.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "the file is not UTF-8".to_owned())?;
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = entry(line).map_err(|why| format!("line {}: {why}", number + 1))?;
            keys.push(entry);
        }
        if keys.is_empty() {
            return Err("the file has no key; nobody could call".to_owned());
        }
        Ok(Self(keys))
    }

    /// The name of `key`. Every digest is compared whole.
    pub(super) fn find(&self, key: &[u8]) -> Option<Arc<str>> {
        let shown: [u8; DIGEST_BYTES] = Sha256::digest(key).into();
        // 0 is no name; the last match counts.
        let mut found = 0u64;
        for (position, (digest, _)) in (1u64..).zip(&self.0) {
            found.conditional_assign(&position, digest.ct_eq(&shown));
        }
        let position = usize::try_from(found.checked_sub(1)?).ok()?;
        self.0.get(position).map(|(_, name)| Arc::clone(name))
    }
}

fn entry(line: &str) -> Result<([u8; DIGEST_BYTES], Arc<str>), String> {
    let (name, key) = line.split_once(':').ok_or("is not name:key")?;
    let (name, key) = (name.trim(), key.trim());
    if name.is_empty() || name.len() > MOST_NAME_BYTES || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("the name must have 1 to {MOST_NAME_BYTES} visible ASCII characters"));
    }
    let digest = match key.strip_prefix(DIGEST_PREFIX) {
        Some(hex) => unhex(hex).ok_or("sha256: is not followed by 64 hexadecimal digits")?,
        None if key.len() < LEAST_KEY_BYTES => {
            return Err(format!("the key has fewer than {LEAST_KEY_BYTES} characters"));
        }
        None => Sha256::digest(key.as_bytes()).into(),
    };
    Ok((digest, name.into()))
}

fn unhex(text: &str) -> Option<[u8; DIGEST_BYTES]> {
    let mut bytes = [0; DIGEST_BYTES];
    if text.len() != 2 * DIGEST_BYTES || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = "# keys\n\na:aaaaaaaaaaaaaaaa\na:second-key-of-team-a\nb: with:colons:in:the:key \n\
        c:sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n";

    #[test]
    fn each_key_stands_for_its_name() {
        let ring = KeyRing::read(FILE.as_bytes()).unwrap();
        let name = |key: &str| ring.find(key.as_bytes()).map(|n| n.to_string());
        assert_eq!(name("aaaaaaaaaaaaaaaa").as_deref(), Some("a"));
        assert_eq!(name("second-key-of-team-a").as_deref(), Some("a"));
        assert_eq!(name("with:colons:in:the:key").as_deref(), Some("b"));
        // The digest is of "test".
        assert_eq!(name("test").as_deref(), Some("c"));
        assert_eq!(format!("{ring:?}"), "KeyRing(4 keys)");
    }

    #[test]
    fn slips_are_named_by_line_and_no_key_is_shown() {
        for (file, word) in [
            ("# only a comment\n", "no key"),
            ("a:aaaaaaaaaaaaaaaa\nsecret-without-name\n", "line 2"),
            ("a:secret\n", "fewer"),
            (":secret-secret-secret\n", "name"),
            ("a b:secret-secret-secret\n", "name"),
            ("a:sha256:secret\n", "64"),
        ] {
            let error = KeyRing::read(file.as_bytes()).unwrap_err();
            assert!(error.contains(word) && !error.contains("secret"), "{file:?}: {error}");
        }
        assert!(KeyRing::read(&[0xff]).is_err());
    }

    proptest! {
        #[test]
        fn a_key_that_was_not_given_finds_nothing(key in "[ -~]{0,40}") {
            let ring = KeyRing::read(b"a:only-this-key-is-known").unwrap();
            prop_assert_eq!(ring.find(key.as_bytes()).is_some(), key == "only-this-key-is-known");
        }

        #[test]
        fn no_file_breaks_the_reader(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = KeyRing::read(&text);
        }
    }
}
