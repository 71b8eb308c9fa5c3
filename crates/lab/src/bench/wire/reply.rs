//! What an answer comes to, whoever gave it: a number a text, and what was wrong with it.

use sortie_dispatch::{Failure, Pushback};
use sortie_proto::code::code_name;
use tonic::{Code, Status};

/// An answer to a chunk.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct WireReply {
    /// One number a text: its score, its vector's [`fingerprint`], or its best label's score. NaN as it came; none where
    /// there was none.
    pub(crate) values: Vec<Option<f32>>,
    /// Texts that were answered more than once, and places that no text has.
    pub(crate) twice: usize,
    /// Whether a list that should go from best to worst does not.
    pub(crate) unsorted: bool,
    /// Texts that the server says it cut.
    pub(crate) truncated: u64,
    /// Tokens as the server counted them; not every protocol says.
    pub(crate) tokens: Option<u64>,
}

impl WireReply {
    /// No answer yet to so many texts.
    pub(crate) fn empty(texts: usize) -> Self {
        Self { values: vec![None; texts], ..Self::default() }
    }

    /// Answers in the order of the texts.
    pub(crate) fn in_order(texts: usize, values: impl IntoIterator<Item = f32>) -> Self {
        let mut reply = Self::empty(texts);
        for (place, value) in values.into_iter().enumerate() {
            reply.put(place, value);
        }
        reply
    }

    /// Answers that say which text they are of, best first.
    pub(crate) fn ranked(texts: usize, ranks: impl IntoIterator<Item = (usize, f32)>) -> Self {
        let mut reply = Self::empty(texts);
        let mut least = f32::INFINITY;
        for (place, value) in ranks {
            reply.unsorted |= value > least;
            // A number that is none is told where it stands; it does not hide the order of the rest.
            least = least.min(value);
            reply.put(place, value);
        }
        reply
    }

    /// One more answer.
    fn put(&mut self, place: usize, value: f32) {
        match self.values.get_mut(place) {
            Some(none @ None) => *none = Some(value),
            Some(_) | None => self.twice += 1,
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WireFailure {
    /// A stable word.
    pub(crate) word: String,
    /// What it is to those who may try again.
    pub(crate) failure: Failure,
}

impl WireFailure {
    /// The deadline came first.
    pub(crate) fn deadline() -> Self {
        Self { word: code_name(Code::DeadlineExceeded).to_owned(), failure: Failure::Deadline }
    }

    /// The connection could not be made, or was lost.
    pub(super) fn unavailable() -> Self {
        Self { word: code_name(Code::Unavailable).to_owned(), failure: Failure::Unavailable }
    }

    /// The answer is not what the protocol says.
    pub(super) fn malformed() -> Self {
        Self { word: "MALFORMED_ANSWER".to_owned(), failure: Failure::Internal }
    }

    /// An HTTP status that is no success.
    pub(super) fn http(status: u16) -> Self {
        let failure = match status {
            429 => Failure::Overloaded { pushback: Pushback::Unsaid, queue: None },
            502 | 503 => Failure::Unavailable,
            408 | 504 => Failure::Deadline,
            _ => Failure::Internal,
        };
        Self { word: format!("HTTP_{status}"), failure }
    }
}

impl From<Status> for WireFailure {
    fn from(status: Status) -> Self {
        let failure = match status.code() {
            Code::Unavailable => Failure::Unavailable,
            Code::ResourceExhausted => Failure::Overloaded { pushback: Pushback::Unsaid, queue: None },
            Code::DeadlineExceeded => Failure::Deadline,
            _ => Failure::Internal,
        };
        Self { word: code_name(status.code()).to_owned(), failure }
    }
}

/// A vector as one number of about -3 to 3, whatever its length: its product with signs that look random, over its norm.
/// Two vectors that point another way differ in it, but for chance. NaN where a number is none; none of none.
pub(crate) fn fingerprint(vector: &[f32]) -> Option<f32> {
    let (mut product, mut square) = (0.0_f64, 0.0_f64);
    for (place, &number) in vector.iter().enumerate() {
        // The upper bit of a product by the golden ratio.
        let sign = if (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 0 { 1.0 } else { -1.0 };
        product += sign * f64::from(number);
        square += f64::from(number) * f64::from(number);
    }
    (!vector.is_empty()).then(|| (product / square.sqrt().max(f64::MIN_POSITIVE)) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_twice_or_out_of_order_is_seen() {
        let ranked = WireReply::ranked(3, [(2, 0.9), (0, 0.5), (0, 0.4), (7, 0.1)]);
        assert_eq!((ranked.values, ranked.twice, ranked.unsorted), (vec![Some(0.5), None, Some(0.9)], 2, false));
        assert!(WireReply::ranked(2, [(0, 0.1), (1, 0.2)]).unsorted);
        let long = WireReply::in_order(1, [1.0, 2.0]);
        assert_eq!((long.values, long.twice), (vec![Some(1.0)], 1));
    }

    #[test]
    fn fingerprints_tell_vectors_apart_but_not_their_lengths() {
        let one: Vec<f32> = (0..384).map(|n| ((n * 7 % 13) as f32) - 6.0).collect();
        let long: Vec<f32> = one.iter().map(|x| x * 3.0).collect();
        let other: Vec<f32> = one.iter().rev().copied().collect();
        let of = |vector: &[f32]| fingerprint(vector).unwrap();
        assert!((of(&one) - of(&long)).abs() < 1e-5);
        assert!((of(&one) - of(&other)).abs() > 1e-3);
        assert!(fingerprint(&[]).is_none() && of(&[f32::NAN, 1.0]).is_nan());
    }

    #[test]
    fn statuses_are_what_retries_go_by() {
        assert_eq!(WireFailure::http(503).failure, Failure::Unavailable);
        assert_eq!(
            (WireFailure::http(422).failure, WireFailure::http(422).word.as_str()),
            (Failure::Internal, "HTTP_422")
        );
        assert_eq!(WireFailure::from(Status::resource_exhausted("")).word, "RESOURCE_EXHAUSTED");
    }
}
