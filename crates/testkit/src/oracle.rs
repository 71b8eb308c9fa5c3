//! What scripted servers answer: plain functions of the text, so that a test knows
//! the right answer without a model, and an answer in the wrong place shows.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// The score of a text: the same for the same text, and hardly ever for another.
#[must_use]
pub fn score_of(text: &str) -> f32 {
    // FNV-1a; 24 bits are exact in an f32.
    let hash = text.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 8) as f32
}

/// The tokens of a text, two specials included.
#[must_use]
pub fn tokens_of(text: &str) -> u32 {
    u32::try_from(text.len().div_ceil(4)).unwrap_or(u32::MAX).saturating_add(2)
}

/// The windows that a text is read in, where a call asks for windows: one for every 64 tokens.
#[must_use]
pub fn windows_of(text: &str) -> u32 {
    tokens_of(text).div_ceil(64)
}

/// The generator of a test: the same numbers each time.
#[must_use]
pub fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// Texts of very different lengths, no two alike.
#[must_use]
pub fn texts(seed: u64, count: usize) -> Vec<String> {
    let mut rng = rng(seed);
    let text = |index| {
        let words = 1 + rng.random_range(1..12usize).pow(2);
        let words: Vec<String> = (0..words).map(|_| format!("w{}", rng.random_range(0..10_000))).collect();
        format!("{index} {}", words.join(" "))
    };
    (0..count).map(text).collect()
}
