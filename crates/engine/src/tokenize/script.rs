//! Where a word may go on across the seam of two tokens.
//!
//! SentencePiece takes all up to the next space for a word, punctuation with it, and a whole sentence of a script that is
//! written without spaces.

/// Blocks of scripts written without spaces between words: Thai to Myanmar, Khmer, kana, Han with its extensions, and their
/// full-width and compatibility forms.
const UNSPACED: [(char, char); 11] = [
    ('\u{e00}', '\u{eff}'),
    ('\u{1000}', '\u{109f}'),
    ('\u{1780}', '\u{17ff}'),
    ('\u{1950}', '\u{19df}'),
    ('\u{1a20}', '\u{1aaf}'),
    ('\u{3040}', '\u{30ff}'),
    ('\u{31f0}', '\u{31ff}'),
    ('\u{3400}', '\u{4dbf}'),
    ('\u{4e00}', '\u{9fff}'),
    ('\u{f900}', '\u{faff}'),
    ('\u{20000}', '\u{3ffff}'),
];

/// Whether a word of `text` may go on from a token that ends at byte `end` to one that starts at byte `start`.
pub(super) fn goes_on(text: &str, end: usize, start: usize) -> bool {
    // Tokens of bytes may share a character.
    if start < end {
        return true;
    }
    let (Some(before), Some(after)) =
        (text.get(..end).and_then(|t| t.chars().next_back()), text.get(start..).and_then(|t| t.chars().next()))
    else {
        return false;
    };
    start == end && is_letter(before) && is_letter(after)
}

/// A letter, a digit or a mark of a script that is written with spaces.
fn is_letter(c: char) -> bool {
    let is_mark = matches!(c, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5c7}' | '\u{610}'..='\u{61a}'
        | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{900}'..='\u{903}' | '\u{93a}'..='\u{94f}' | '\u{1ab0}'..='\u{1aff}' | '\u{200c}' | '\u{200d}');
    // Signs of the scripts of India are combining, and are no letters to the standard library either.
    let is_sign = matches!(c, '\u{980}'..='\u{dff}');
    (c.is_alphanumeric() || is_mark || is_sign) && !UNSPACED.iter().any(|&(from, to)| (from..=to).contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_on_between_letters_and_digits_alone() {
        for (text, at, want) in [
            ("Obama", 2, true),
            ("Größe", 2, true),
            ("Paris,", 5, false),
            ("a b", 1, false),
            ("x-ray", 1, false),
            ("東京", 3, false),
            ("ไทย", 3, false),
            ("abc東", 3, false),
            ("версия2", 12, true),
        ] {
            assert_eq!(goes_on(text, at, at), want, "{text}");
        }
        assert!(!goes_on("a b", 1, 2), "a space lies between");
        assert!(goes_on("é", 2, 0), "two tokens of one character");
        assert!(!goes_on("abc", 3, 3), "nothing comes after");
    }
}
