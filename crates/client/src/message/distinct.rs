//! Which items of a message are the same: of those one is sent.
//!
//! Invariant: two items count as the same only where every byte of them is.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use prost::Message as _;
use sortie_proto::v1::{self, input::Kind};

/// Bytes of a sample of a text.
const SAMPLE: usize = 8;

/// The items of a message without their duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DistinctItems {
    /// Place of the first of each in the message, ascending.
    pub(super) firsts: Vec<usize>,
    /// For each item of the message, its place in `firsts`.
    pub(super) number: Vec<usize>,
}

impl DistinctItems {
    /// Looks for items that are the same.
    pub(super) fn of(items: &[v1::Input]) -> Self {
        if all_differ_at_a_glance(items) {
            let all: Vec<usize> = (0..items.len()).collect();
            return Self { firsts: all.clone(), number: all };
        }
        let mut seen: HashMap<(bool, Cow<'_, [u8]>), usize> = HashMap::with_capacity(items.len());
        let mut distinct = Self { firsts: Vec::new(), number: Vec::with_capacity(items.len()) };
        for (place, item) in items.iter().enumerate() {
            let number = *seen.entry(whole(item)).or_insert_with(|| {
                distinct.firsts.push(place);
                distinct.firsts.len() - 1
            });
            distinct.number.push(number);
        }
        distinct
    }

    /// Items that have one before them that is the same.
    pub(super) fn duplicates(&self) -> usize {
        self.number.len() - self.firsts.len()
    }
}

/// All of an item, and whether it is a plain text. The map that hashes it has random keys, so that nobody can make
/// texts that meet in it.
fn whole(item: &v1::Input) -> (bool, Cow<'_, [u8]>) {
    match &item.kind {
        Some(Kind::Text(text)) => (true, Cow::Borrowed(text.as_bytes())),
        _ => (false, Cow::Owned(item.encode_to_vec())),
    }
}

/// Whether the items are texts of which already lengths and samples differ, as those of most messages do: nothing is
/// then read to its end.
fn all_differ_at_a_glance(items: &[v1::Input]) -> bool {
    let mut seen = HashSet::with_capacity(items.len());
    items.iter().all(|item| match &item.kind {
        Some(Kind::Text(text)) => seen.insert(glance(text.as_bytes())),
        _ => false,
    })
}

/// The length of a text, and what stands at its beginning, middle and end.
fn glance(text: &[u8]) -> (usize, [[u8; SAMPLE]; 3]) {
    let sample = |from: usize| {
        let mut sample = [0; SAMPLE];
        sample.iter_mut().zip(text.iter().skip(from)).for_each(|(to, from)| *to = *from);
        sample
    };
    (text.len(), [sample(0), sample(text.len() / 2), sample(text.len().saturating_sub(SAMPLE))])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> v1::Input {
        v1::Input { kind: Some(Kind::Text(text.to_owned())) }
    }

    fn pair(first: &str, second: &str) -> v1::Input {
        v1::Input { kind: Some(Kind::Pair(v1::TextPair { first: first.to_owned(), second: second.to_owned() })) }
    }

    #[test]
    fn kinds_of_items_do_not_meet() {
        let bytes = String::from_utf8(pair("a", "b").encode_to_vec()).unwrap();
        let tokens = v1::TokenIds { ids: vec![1, 2], type_ids: Vec::new() };
        let items =
            [text(&bytes), pair("a", "b"), pair("ab", ""), v1::Input { kind: Some(Kind::Tokens(tokens)) }, text("")];
        assert_eq!(DistinctItems::of(&items).firsts, [0, 1, 2, 3, 4]);
        let twice = [items.clone(), items].concat();
        let distinct = DistinctItems::of(&twice);
        assert_eq!((distinct.firsts, distinct.number), (vec![0, 1, 2, 3, 4], vec![0, 1, 2, 3, 4, 0, 1, 2, 3, 4]));
    }

    #[test]
    fn texts_that_look_alike_are_read_to_their_end() {
        let long = |middle: &str| text(&format!("{}{middle}{}", "x".repeat(100), "y".repeat(200)));
        let items = [long("a"), long("b"), long("a")];
        let distinct = DistinctItems::of(&items);
        assert_eq!((distinct.duplicates(), distinct.number), (1, vec![0, 1, 0]));
    }

    proptest! {
        #[test]
        fn an_item_stands_for_its_equals_alone(texts in proptest::collection::vec("[ab]{0,3}", 0..40)) {
            let items: Vec<_> = texts.iter().map(|t| text(t)).collect();
            let distinct = DistinctItems::of(&items);
            prop_assert_eq!(distinct.number.len(), items.len());
            prop_assert!(distinct.firsts.is_sorted_by(|a, b| a < b));
            for (place, &number) in distinct.number.iter().enumerate() {
                let first = distinct.firsts[number];
                prop_assert!(first <= place && items[first] == items[place]);
                prop_assert_eq!(first, items.iter().position(|item| *item == items[place]).unwrap());
            }
        }
    }
}
