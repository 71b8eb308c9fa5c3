//! Lays sequences end to end: the flat inputs of the graph.
//!
//! `cumulative[i]..cumulative[i + 1]` are sequence `i`'s rows; `first[i]` is its
//! first. A token's *place* is `position · segments + segment`, a row of the table that
//! holds what position and segment (its type id) add together. Positions start anew in
//! each sequence, at the family's first position.

use super::super::family::PositionSegments;
use crate::item::Sequence;

/// The packed inputs of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PackedInputs {
    pub(crate) ids: Vec<i32>,
    pub(crate) places: Vec<i32>,
    pub(crate) cumulative: Vec<i32>,
    pub(crate) first: Vec<i32>,
    /// Tokens of each sequence that are not query expansion.
    pub(crate) keys: Vec<i32>,
    /// Row of each sequence's last token.
    pub(crate) last: Vec<i32>,
    pub(crate) words: PlacedRows,
    pub(crate) labels: PlacedRows,
}

/// Rows of tokens that are read by themselves: of words, or of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlacedRows {
    pub(crate) rows: Vec<i32>,
    /// Where each sequence's start, and where the last's end.
    pub(crate) bounds: Vec<i32>,
}

impl Default for PlacedRows {
    fn default() -> Self {
        Self { rows: Vec::new(), bounds: vec![0] }
    }
}

impl PlacedRows {
    /// Adds those of a sequence whose first token has the row `start`.
    fn add(&mut self, start: usize, places: impl Iterator<Item = u32>) {
        self.rows.extend(places.map(|place| (start + place as usize) as i32));
        self.bounds.push(self.rows.len() as i32);
    }
}

/// What a sequence may hold. Checked before packing, so that an id can never
/// make the device read past a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) vocab: usize,
    /// Rows of the segment table; 0 where there is none.
    pub(crate) segments: usize,
    pub(crate) longest: usize,
}

impl Bounds {
    /// Says what is wrong with a sequence.
    pub(crate) fn check(&self, s: &Sequence) -> Result<(), String> {
        if s.is_empty() {
            return Err("the sequence has no token".into());
        }
        if s.len() > self.longest {
            return Err(format!("{} tokens, the model has {} positions", s.len(), self.longest));
        }
        if !s.type_ids.is_empty() && s.type_ids.len() != s.len() {
            return Err(format!("{} type ids for {} ids", s.type_ids.len(), s.len()));
        }
        if let Some(places) = &s.places {
            let mut all = places.labels.iter().copied().chain(places.words.iter().map(|word| word.token));
            if let Some(place) = all.find(|&place| place as usize >= s.len()) {
                return Err(format!("a word or a label at place {place} of {} tokens", s.len()));
            }
        }
        if let Some((at, id)) = outside(&s.ids, self.vocab) {
            return Err(format!("token id {id} at place {at} is outside the vocabulary of {}", self.vocab));
        }
        // To a model with one segment or none they make no difference: a template that writes them is harmless.
        if self.segments < 2 {
            return Ok(());
        }
        match outside(&s.type_ids, self.segments) {
            Some((at, t)) => Err(format!("type id {t} at place {at}, the model has {}", self.segments)),
            None => Ok(()),
        }
    }
}

/// The first of `ids` that a table of `rows` does not have, and its place. Nearly always there is none, which the
/// largest says without a branch a token.
fn outside(ids: &[u32], rows: usize) -> Option<(usize, u32)> {
    let largest = ids.iter().copied().max()?;
    if (largest as usize) < rows {
        return None;
    }
    ids.iter().copied().enumerate().find(|&(_, id)| id as usize >= rows)
}

impl PackedInputs {
    /// Tokens of each sequence.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = usize> + '_ {
        let after = self.cumulative.iter().skip(1);
        self.cumulative.iter().zip(after).map(|(&a, &b)| usize::try_from(b - a).unwrap_or(0))
    }

    /// Adds a sequence of `tokens` that nobody asked for, to fill a shape.
    pub(crate) fn fill(&mut self, tokens: usize, places: PositionSegments) {
        let start = self.ids.len();
        self.first.push(start as i32);
        self.ids.resize(start + tokens, 0);
        self.places.extend(places.run(tokens));
        self.keys.push(tokens as i32);
        self.last.push((start + tokens).saturating_sub(1) as i32);
        self.cumulative.push(self.ids.len() as i32);
    }

    /// Packs sequences that passed [`Bounds::check`].
    pub(crate) fn pack<'a>(
        sequences: impl IntoIterator<Item = &'a Sequence, IntoIter: Clone>,
        places: PositionSegments,
    ) -> Self {
        let sequences = sequences.into_iter();
        let (count, tokens) = sequences.clone().fold((0, 0), |(count, tokens), s| (count + 1, tokens + s.len()));
        let room = Vec::<i32>::with_capacity;
        let mut f = PackedInputs {
            ids: room(tokens),
            places: room(tokens),
            cumulative: room(count + 1),
            first: room(count),
            keys: room(count),
            last: room(count),
            words: PlacedRows::default(),
            labels: PlacedRows::default(),
        };
        f.cumulative.push(0);
        // A whole sequence at a time: these are copies, where a token at a time is three checked pushes.
        for s in sequences {
            let start = f.ids.len();
            f.first.push(start as i32);
            if let Some(places) = &s.places {
                f.words.add(start, places.words.iter().map(|word| word.token));
                f.labels.add(start, places.labels.iter().copied());
            }
            let last = s.ids.iter().rposition(|&id| Some(id) != places.passed_over).unwrap_or(0);
            f.last.push((f.ids.len() + last) as i32);
            f.ids.extend(s.ids.iter().map(|&id| id as i32));
            if let Some(pad) = places.pad.filter(|pad| s.ids.contains(pad)) {
                f.places.extend(
                    places
                        .around(pad, &s.ids)
                        .enumerate()
                        .map(|(i, place)| place + if places.segments < 2 { 0 } else { s.type_id(i) as i32 }),
                );
            } else if s.type_ids.is_empty() || places.segments < 2 {
                f.places.extend(places.run(s.len()));
            } else {
                f.places.extend(places.run(s.len()).zip(&s.type_ids).map(|(place, &t)| place + t as i32));
            }
            f.keys.push((s.len() - s.expansion.min(s.len().saturating_sub(1))) as i32);
            f.cumulative.push(f.ids.len() as i32);
        }
        f
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sequence(ids: Vec<u32>) -> Sequence {
        Sequence { ids, ..Sequence::default() }
    }

    proptest! {
        #[test]
        fn packing_keeps_every_token_in_its_sequence(
            lengths in prop::collection::vec(1usize..20, 1..20),
            first in 0usize..3,
            segments in 1usize..4,
        ) {
            let mut sequences: Vec<_> = lengths.iter().enumerate().map(|(i, &n)| sequence(vec![i as u32; n])).collect();
            // Every second sequence says its segments; a model with one has none to tell apart.
            for s in sequences.iter_mut().step_by(2) {
                s.type_ids = (0..s.len()).map(|k| (k % segments) as u32).collect();
            }
            let mut f = PackedInputs::pack(&sequences, PositionSegments { first, segments, pad: None, counts: true, passed_over: None });
            prop_assert_eq!(f.ids.len(), lengths.iter().sum::<usize>());
            for (i, s) in sequences.iter().enumerate() {
                let rows = f.cumulative[i] as usize..f.cumulative[i + 1] as usize;
                prop_assert_eq!(f.first[i] as usize, rows.start);
                prop_assert_eq!(rows.len(), s.len());
                prop_assert!(f.ids[rows.clone()].iter().all(|&x| x == i as i32));
                for (k, &place) in f.places[rows].iter().enumerate() {
                    let segment = s.type_ids.get(k).map_or(0, |&t| t as usize);
                    prop_assert_eq!((place as usize / segments, place as usize % segments), (first + k, segment));
                }
            }
            let before = f.places.len();
            f.fill(3, PositionSegments { first, segments, pad: None, counts: true, passed_over: None });
            let filled: Vec<usize> = f.places[before..].iter().map(|&p| p as usize).collect();
            prop_assert_eq!(filled, (first..first + 3).map(|p| p * segments).collect::<Vec<_>>());
        }
    }

    #[test]
    fn without_rows_for_positions_a_place_is_the_segment() {
        let places = PositionSegments { first: 0, segments: 2, pad: None, counts: false, passed_over: None };
        let two = Sequence { ids: vec![4, 5, 6], type_ids: vec![0, 1, 1], ..Sequence::default() };
        assert_eq!(PackedInputs::pack(&[two, sequence(vec![4, 5])], places).places, [0, 1, 1, 0, 0]);
    }

    #[test]
    fn a_pad_is_not_taken_for_the_last_token() {
        let places = PositionSegments { first: 0, segments: 1, pad: None, counts: false, passed_over: Some(9) };
        let all = [sequence(vec![4, 5, 9]), sequence(vec![9, 4]), sequence(vec![9, 9])];
        assert_eq!(PackedInputs::pack(&all, places).last, [1, 4, 5]);
    }

    #[test]
    fn a_pad_that_a_text_spells_out_is_not_counted() {
        let places = PositionSegments { first: 2, segments: 1, pad: Some(1), counts: true, passed_over: None };
        let f = PackedInputs::pack(&[sequence(vec![0, 20, 1, 22, 2]), sequence(vec![0, 5])], places);
        assert_eq!(f.places, [2, 3, 1, 4, 5, 2, 3]);
    }

    #[test]
    fn tokens_of_an_expansion_are_no_keys() {
        let query = Sequence { expansion: 3, ..sequence(vec![1; 5]) };
        let all = Sequence { expansion: 9, ..sequence(vec![1; 2]) };
        let f = PackedInputs::pack(
            &[query, all, sequence(vec![1; 4])],
            PositionSegments { first: 0, segments: 1, pad: None, counts: true, passed_over: None },
        );
        assert_eq!(f.keys, [2, 1, 4], "one token at least is seen");
    }

    #[test]
    fn what_a_table_cannot_hold_is_refused() {
        let b = Bounds { vocab: 10, segments: 2, longest: 3 };
        assert!(b.check(&sequence(vec![1, 9])).is_ok());
        assert!(b.check(&sequence(vec![1, 10])).unwrap_err().contains("vocabulary of 10"));
        assert!(b.check(&sequence(vec![])).unwrap_err().contains("no token"));
        assert!(b.check(&sequence(vec![1; 4])).unwrap_err().contains("3 positions"));
        let two = Sequence { ids: vec![1, 2], type_ids: vec![0, 2], ..Sequence::default() };
        assert!(b.check(&two).unwrap_err().contains("type id 2"));
        assert!(Bounds { segments: 0, ..b }.check(&two).is_ok());
    }
}
