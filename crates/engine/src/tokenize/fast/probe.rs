//! The self-check at load: the fast path against the reference on texts across
//! scripts and on words of the file's own vocabulary.

use super::{Fast, settled};
use crate::tokenize::piece::contained;

/// Texts that any file must agree on.
pub(super) const PROBES: [&str; 34] = [
    "",
    " ",
    "  \t\n\r\n \u{b}\u{c} ",
    "a",
    " a  b   c ",
    "The quick brown fox jumps over the lazy dog.",
    "Don't re-use FooBar_2.0 (v1.31.1), it's \"gone\"! We'LL see; I'd say so.",
    "fn main() { let x: Vec<u8> = vec![0x1F; 42]; println!(\"{x:?} {}\", a/b*c); } // ok",
    "https://example.org/a/b?q=1&r=%20#frag user.name+tag@example.com 2026-11-23T13:00:00Z 1,234,567.89 €5 £7",
    "Größe und Übermaß, Straße; naïve cafés, e\u{301}te\u{301}, Ångström, ﬁne oﬃce, ŒUVRE, İstanbul ıI",
    "Çalışkan öğrenci, żółw źdźbło, příliš žluťoučký kůň, tiếng Việt khó, ēōū ȘșȚț",
    "Ελληνικά γράμματα, ΣΊΣΥΦΟΣ, ἀρχὴ ἥμισυ παντός",
    "Съешь ещё этих мягких французских булок, да выпей чаю; Їжак і ґанок",
    "Հայերեն այբուբեն, ქართული ანბანი, Ⴀⴀ",
    "עברית עם נִקּוּד, ״ציטוט״; יידיש",
    "العربية مع تَشْكِيل، فارسی با نیم\u{200c}فاصله، اردو؟ ١٢٣ ۴۵۶",
    "हिन्दी में लिखा हुआ वाक्य। बाংলা বাংলা, ਪੰਜਾਬੀ, ગુજરાતી, ଓଡ଼ିଆ, தமிழ், తెలుగు, ಕನ್ನಡ, മലയാളം, සිංහල",
    "ภาษาไทยไม่เว้นวรรค ພາສາລາວ မြန်မာဘာသာ ភាសាខ្មែរ བོད་སྐད།",
    "漢字とカタカナ、ひらがな。「引用」全角ＡＢＣ１２３ ｶﾀｶﾅ㍿",
    "简体中文与繁體中文混排，标点！？；：（）【】《》",
    "한국어 문장입니다. ㄱㄴㄷ ᄒ\u{1161}\u{11ab}글",
    "አማርኛ ፊደል፡፡ ᏣᎳᎩ ᐃᓄᒃᑎᑐᑦ ᠮᠣᠩᠭᠣᠯ ⵜⴰⵎⴰⵣⵉⵖⵜ",
    "𝒜𝓁𝓅𝒽𝒶 𝟘𝟙𝟚 ℕ ⅷ ½ ² ™ ℃ ∑∫√∞≠≤ ←→ ░▒▓ ①② ⠓⠊ ♔♕ 𓀀 𐍈 𠀀𪛖",
    "🙂👍🏽 👩‍👩‍👧‍👦 🇩🇪🇯🇵 ❤️ ☎︎ 1️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 😀😃",
    "\u{0}\u{1}\u{7f}\u{80}\u{9f}\u{ad}\u{200b}\u{200c}\u{200d}\u{200e}\u{2060}\u{feff}\u{fffd}\u{e000}",
    "a\u{a0}b\u{1680}c\u{2003}d\u{2009}e\u{2028}f\u{2029}g\u{202f}h\u{205f}i\u{3000}j\u{85}k▁l ▁ m",
    "\u{301}a\u{301}\u{323}\u{327}b\u{323}\u{301} \u{301} \u{20dd}x\u{338}=\u{338}",
    "[CLS] [SEP][MASK]a[UNK] [PAD] x<s></s> <pad> <mask>y <mask> <unk> <|endoftext|> [cls] [MASK <mask",
    "'''\"\"\"```---___***...!!!???,,,;;;:::((([[[{{{<<<///\\\\\\|||@@@###$$$%%%^^^&&&+++===~~~",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "pneumonoultramicroscopicsilicovolcanoconiosis antidisestablishmentarianism Donaudampfschifffahrtsgesellschaft",
    "0 00 000 0000 00000 000000 1234567890 3.14159 -1 +1 1e-9 0x7f ٣٫١٤ १२३",
    "mixedСкриптами漢字とabcไทย123العربيةz",
    "a\nb\r\nc\rd\n\ne \n f\t\tg",
];

/// Words of the vocabulary that are tried, evenly spread over it: enough to notice another reading of the file, a few
/// milliseconds of the reference.
const WORDS: usize = 2048;

/// Words of one text.
const WORDS_A_TEXT: usize = 64;

/// Says where the two differ.
pub(super) fn agrees(fast: &Fast, reference: &tokenizers::Tokenizer) -> Result<(), String> {
    let mut vocabulary: Vec<(String, u32)> = reference.get_vocab(true).into_iter().collect();
    vocabulary.sort_unstable_by_key(|&(_, id)| id);
    let step = vocabulary.len().div_ceil(WORDS).max(1);
    let words: Vec<&str> = vocabulary.iter().step_by(step).map(|(word, _)| word.as_str()).collect();
    let texts = words.chunks(WORDS_A_TEXT).map(|words| words.join(" "));
    PROBES.iter().map(|text| (*text).to_owned()).chain(texts).filter(|text| settled(text)).try_for_each(|text| {
        let truth = contained(|| reference.encode_fast(text.as_str(), false));
        let same = match (fast.raw(&text), truth) {
            (Ok(ids), Ok(truth)) => ids == truth.get_ids(),
            (Err(_), Err(_)) => true,
            _ => false,
        };
        if same { Ok(()) } else { Err(format!("the self-check differs on {:?}", shortened(&text))) }
    })
}

/// Enough of a text to find it again.
fn shortened(text: &str) -> &str {
    /// Bytes shown.
    const SHOWN: usize = 48;
    text.get(..text.floor_char_boundary(SHOWN)).unwrap_or(text)
}
