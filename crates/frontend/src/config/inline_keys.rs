//! Keys that a program was given otherwise than by a file.

use std::fmt;

/// Lines as a file of keys has them, and the setting they came by. Nothing shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct InlineKeys {
    setting: &'static str,
    lines: String,
}

impl InlineKeys {
    /// One key of one name, which came by `setting`.
    #[must_use]
    pub fn one(setting: &'static str, name: &str, key: &str) -> Self {
        Self { setting, lines: format!("{name}:{key}") }
    }

    /// What errors name.
    pub(crate) fn setting(&self) -> &'static str {
        self.setting
    }

    /// What a file would hold.
    pub(crate) fn lines(&self) -> &[u8] {
        self.lines.as_bytes()
    }
}

impl fmt::Debug for InlineKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineKeys").field("setting", &self.setting).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_a_key() {
        let keys = InlineKeys::one("API_KEY", "team", "a long enough key");
        assert_eq!(keys.lines(), b"team:a long enough key");
        assert_eq!(format!("{keys:?}"), "InlineKeys { setting: \"API_KEY\", .. }");
    }
}
