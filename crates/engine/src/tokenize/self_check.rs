//! A check at load: sample texts come out as the reference has them.

use std::sync::Arc;

use super::{EncodeOptions, Tokenizer, TruncationSide, piece::contained};
use crate::{error::InputError, item::Sequence};

/// Texts the self-check compares: nothing, whitespace, plain words, accents, scripts, emoji, controls, a long word.
pub(super) const SAMPLES: [&str; 8] = [
    "",
    "  \t\n ",
    "how to split a string by a delimiter",
    "Don't re-use FooBar_2.0 (v1.31.1), it's \"gone\"!",
    "Größe und Übermaß: naïve cafés, e\u{301}te\u{301}",
    "漢字とカタカナ, русский, العربية, ไทย, 한국어",
    "🙂👩‍👩‍👧 \u{0}\u{7f}\u{200b}\u{fffd}\u{301}",
    "pneumonoultramicroscopicsilicovolcanoconiosispneumonoultramicroscopicsilicovolcanoconiosispneumonoultramicro",
];

impl Tokenizer {
    /// Whether sample texts, alone and in pairs, come out as the reference has them.
    pub(super) fn agrees(&self) -> bool {
        let singles = SAMPLES.iter().all(|&text| {
            let truth = contained(|| self.inner.encode(text, true));
            same(self.unlimited().encode(text, &EncodeOptions::default()), truth)
        });
        let pairs = SAMPLES.iter().zip(SAMPLES.iter().cycle().skip(2)).all(|(&a, &b)| {
            let truth = contained(|| self.inner.encode((a, b), true));
            same(self.unlimited().encode_pair(a, b, &EncodeOptions::default()), truth)
        });
        singles && pairs
    }

    /// Itself with room for any sample.
    fn unlimited(&self) -> Self {
        Tokenizer { max_length: usize::MAX, side: TruncationSide::Right, counted: Arc::default(), ..self.clone() }
    }
}

/// Whether both failed, or both made the same ids and type ids.
fn same(ours: Result<Sequence, InputError>, truth: Result<tokenizers::Encoding, InputError>) -> bool {
    match (ours, truth) {
        (Ok(ours), Ok(truth)) => {
            let type_ids = (0..ours.len()).map(|i| ours.type_id(i));
            ours.ids == truth.get_ids() && type_ids.eq(truth.get_type_ids().iter().copied())
        }
        (Err(_), Err(_)) => true,
        _ => false,
    }
}
