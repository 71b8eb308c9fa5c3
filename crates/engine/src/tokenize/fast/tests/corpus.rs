//! Random texts of twelve kinds, the same for the same seed: words of a
//! vocabulary, every script, emoji, controls, marks, endless words, whitespace,
//! specials spelled out, digits and punctuation, prose with a few words of other
//! characters, and mixtures of all.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// Kinds of text.
pub(super) const KINDS: usize = 12;

/// Blocks of characters: every script, and what is no script.
#[rustfmt::skip]
const BLOCKS: [(u32, u32); 62] = [
    (0x20, 0x7E), (0x61, 0x7A), (0xA0, 0x24F), (0x250, 0x2FF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F),
    (0x530, 0x58F), (0x590, 0x5FF), (0x600, 0x6FF), (0x700, 0x7BF), (0x7C0, 0x8FF), (0x900, 0x97F), (0x980, 0x9FF),
    (0xA00, 0xAFF), (0xB00, 0xBFF), (0xC00, 0xCFF), (0xD00, 0xDFF), (0xE00, 0xE7F), (0xE80, 0xEFF), (0xF00, 0xFFF),
    (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x139F), (0x13A0, 0x13FF), (0x1400, 0x167F),
    (0x1680, 0x177F), (0x1780, 0x17FF), (0x1800, 0x18AF), (0x1900, 0x1AFF), (0x1B00, 0x1CFF), (0x1D00, 0x1DFF),
    (0x1E00, 0x1FFF), (0x2000, 0x20CF), (0x2100, 0x22FF), (0x2300, 0x27BF), (0x2800, 0x2BFF), (0x2C00, 0x2DFF),
    (0x2E80, 0x303F), (0x3040, 0x30FF), (0x3100, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA4CF),
    (0xA4D0, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xF8FF), (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFFFF),
    (0x1_0000, 0x1_0FFF), (0x1_1000, 0x1_2FFF), (0x1_3000, 0x1_6FFF), (0x1_7000, 0x1_B2FF), (0x1_BC00, 0x1_D7FF),
    (0x1_D800, 0x1_EEFF), (0x1_F000, 0x1_F5FF), (0x1_F600, 0x1_FAFF), (0x2_0000, 0x3_FFFF), (0xE_0000, 0xE_01FF),
    (0xF_0000, 0x10_FFFF),
];
const EMOJI: [(u32, u32); 3] = [(0x1_F300, 0x1_FAFF), (0x2600, 0x27BF), (0x1_F1E6, 0x1_F1FF)];
const JOINERS: [char; 7] = ['\u{200D}', '\u{FE0F}', '\u{FE0E}', '\u{20E3}', '🏻', '🏿', '\u{E0067}'];
#[rustfmt::skip]
const CONTROLS: [(u32, u32); 8] = [
    (0, 0x1F), (0x7F, 0x9F), (0x2028, 0x202E), (0x2060, 0x206F), (0xFFF0, 0xFFFF), (0xFE00, 0xFE0F), (0xAD, 0xAD),
    (0x200B, 0x200F),
];
#[rustfmt::skip]
const MARKS: [(u32, u32); 8] = [
    (0x300, 0x36F), (0x591, 0x5C7), (0x64B, 0x65F), (0x93C, 0x94D), (0xE31, 0xE4E), (0x1AB0, 0x1ACE), (0x20D0, 0x20F0),
    (0x3099, 0x309A),
];
const SPACES: [char; 22] = [
    ' ', '\t', '\n', '\r', '\u{B}', '\u{C}', '\u{85}', '\u{A0}', '\u{1680}', '\u{2000}', '\u{2003}', '\u{2009}',
    '\u{200A}', '\u{2028}', '\u{2029}', '\u{202F}', '\u{205F}', '\u{3000}', '\u{200B}', '\u{FEFF}', '\u{2060}', '▁',
];
const SPECIALS: [&str; 18] = [
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[UNK]",
    "[PAD]",
    "<s>",
    "</s>",
    "<pad>",
    "<mask>",
    "<unk>",
    "[mask]",
    "[MASK",
    "MASK]",
    "<|endoftext|>",
    " <mask> ",
    "[ MASK ]",
    "[CLS][SEP]",
    "<s></s>",
];
const ENDINGS: [&str; 9] = ["'s", "'t", "'re", "'VE", "'m", "'ll", "'D", "''", "n't"];
const QUOTES: [char; 8] = ['’', '“', '”', '–', '—', '…', 'é', 'ü'];
const JOINTS: [char; 10] = [' ', ' ', ' ', '\n', '.', ',', '-', '\'', '/', '_'];

/// Makes texts.
pub(super) struct Corpus {
    rng: StdRng,
    words: Vec<String>,
}

impl Corpus {
    /// Texts of these words and of everything else.
    pub(super) fn new(seed: u64, words: Vec<String>) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), words }
    }

    fn below(&mut self, n: usize) -> usize {
        self.rng.random_range(0..n)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A character of a block.
    fn of(&mut self, (first, last): (u32, u32)) -> char {
        (0..64).find_map(|_| char::from_u32(self.rng.random_range(first..=last))).unwrap_or('x')
    }

    fn any(&mut self) -> char {
        let block = self.pick(&BLOCKS);
        self.of(block)
    }

    fn word(&mut self, to: &mut String) {
        if !self.words.is_empty() {
            let at = self.below(self.words.len());
            to.push_str(&self.words[at]);
        }
    }

    /// A text of a kind.
    pub(super) fn text(&mut self, kind: usize) -> String {
        let mut s = String::new();
        match kind {
            0 => self.repeat(40, &mut s, |c, s| {
                c.word(s);
                s.push(c.pick(&JOINTS));
            }),
            1 => {
                let script = self.pick(&BLOCKS);
                self.repeat(30, &mut s, |c, s| {
                    for _ in 0..=c.below(9) {
                        s.push(c.of(script));
                    }
                    s.push(' ');
                });
            }
            2 => self.repeat(150, &mut s, |c, s| {
                s.push(c.any());
                c.space(5, s);
            }),
            3 => self.repeat(40, &mut s, |c, s| {
                let emoji = c.pick(&EMOJI);
                s.push(c.of(emoji));
                if c.one_in(2) {
                    s.push(c.pick(&JOINERS));
                }
                c.space(6, s);
            }),
            4 => self.repeat(60, &mut s, |c, s| {
                let control = c.pick(&CONTROLS);
                s.push(c.of(control));
                if c.one_in(3) {
                    c.word(s);
                }
                c.space(4, s);
            }),
            5 => self.repeat(30, &mut s, |c, s| {
                s.push(c.any());
                for _ in 0..c.below(6) {
                    let marks = c.pick(&MARKS);
                    s.push(c.of(marks));
                }
                c.space(3, s);
            }),
            6 => self.repeat(2, &mut s, Self::long_word),
            7 => self.repeat(40, &mut s, |c, s| {
                for _ in 0..c.below(4) {
                    s.push(c.pick(&SPACES));
                }
                if !c.one_in(5) {
                    c.word(s);
                }
            }),
            8 => self.repeat(25, &mut s, |c, s| {
                if c.one_in(2) {
                    s.push(c.pick(&SPACES));
                }
                s.push_str(c.pick(&SPECIALS));
                c.space(2, s);
                if c.one_in(2) {
                    c.word(s);
                }
            }),
            9 => self.repeat(60, &mut s, |c, s| match c.below(8) {
                0 => {
                    let digits = c.rng.random::<u64>() >> c.below(64);
                    s.push_str(&digits.to_string());
                }
                1 => s.push_str(c.pick(&ENDINGS)),
                2 => s.push(c.of((0x21, 0x2F))),
                3 => s.push(c.of((0x5B, 0x60))),
                4 => s.push(c.any()),
                5 => s.push(c.pick(&SPACES)),
                _ => c.word(s),
            }),
            10 => self.repeat(50, &mut s, |c, s| {
                let from = s.len();
                c.word(s);
                if c.one_in(6) {
                    let upper = s.split_off(from).to_uppercase();
                    s.push_str(&upper);
                }
                if c.one_in(12) {
                    match c.below(4) {
                        0 => s.push(c.pick(&QUOTES)),
                        1 => {
                            let marks = c.pick(&MARKS);
                            s.push(c.of(marks));
                        }
                        2 => s.push_str(c.pick(&SPECIALS)),
                        _ => s.push(c.any()),
                    }
                }
                s.push(c.pick(&JOINTS));
            }),
            _ => self.repeat(3, &mut s, |c, s| {
                let kind = c.below(KINDS - 1);
                let text = c.text(kind);
                s.extend(text.chars().take(c.below(120)));
            }),
        }
        s
    }

    fn repeat(&mut self, times: usize, s: &mut String, mut one: impl FnMut(&mut Self, &mut String)) {
        for _ in 0..times {
            one(self, s);
        }
    }

    fn space(&mut self, one_in: usize, s: &mut String) {
        if self.one_in(one_in) {
            s.push(' ');
        }
    }

    /// About 100 characters, where WordPiece gives up, about 200, or up to 3,000.
    fn long_word(&mut self, s: &mut String) {
        let length = match self.below(3) {
            0 => 95 + self.below(12),
            1 => 190 + self.below(20),
            _ => self.below(3000),
        };
        match self.below(3) {
            0 => {
                let c = self.any();
                s.extend(std::iter::repeat_n(c, length));
            }
            1 => {
                let script = self.pick(&BLOCKS);
                for _ in 0..length {
                    s.push(self.of(script));
                }
            }
            _ => {
                let from = s.len();
                for _ in 0..length {
                    if s.len() < from + length {
                        self.word(s);
                    }
                }
            }
        }
        s.push(' ');
    }
}
