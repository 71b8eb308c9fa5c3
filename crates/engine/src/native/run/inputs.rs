//! The inputs of a graph by name, made on the host from packed sequences.
//!
//! A graph takes some of these, by target and head; which ones its session says.
//! All are made without the device, so a batch can be laid out while another runs.

use ort::{session::SessionInputValue, value::Tensor};

use super::{
    super::graph::{names::input, pooling},
    packing::PackedInputs,
};

/// Numbers of an input.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    I32(Vec<i32>),
    F32(Vec<f32>),
}

impl Values {
    /// The numbers as they lie in memory.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Values::I32(v) => bytes_of(v),
            Values::F32(v) => bytes_of(v),
        }
    }
}

fn bytes_of<T: Copy>(numbers: &[T]) -> &[u8] {
    // SAFETY: whole numbers and floats have no padding, and every byte of them may be read.
    #[expect(unsafe_code, reason = "a view of numbers as bytes")]
    unsafe {
        std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers))
    }
}

/// One input of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HostTensor {
    pub(crate) name: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Values,
}

impl HostTensor {
    /// As ONNX Runtime takes it, with its name.
    pub(crate) fn into_value(self) -> ort::Result<(&'static str, SessionInputValue<'static>)> {
        let value = match self.values {
            Values::I32(v) => Tensor::from_array((self.shape, v))?.into(),
            Values::F32(v) => Tensor::from_array((self.shape, v))?.into(),
        };
        Ok((self.name, value))
    }
}

/// Every name that a graph of ours may take.
pub(crate) const INPUTS: [&str; 21] = [
    input::IDS,
    input::PLACES,
    input::CUMULATIVE,
    input::FIRST,
    input::FINAL,
    input::KEYS,
    input::TOKEN_OFFSET,
    input::PICKED_ROW,
    input::OWNER,
    input::SEQUENCE,
    input::SHARE,
    input::ROW,
    input::LAST,
    input::GROUP,
    input::CHUNKED,
    input::WORD_ROW,
    input::WORD_BOUNDS,
    input::LABEL_ROW,
    input::LABEL_BOUNDS,
    input::PAIR_WORD,
    input::PAIR_LABEL,
];

/// What the rows of [`pooling::largest`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Tokens, grouped by sequence.
    Tokens,
    /// Chunks of tokens, grouped by sequence.
    Chunks,
}

/// Makes the inputs `names` of a run.
///
/// `longest` is the second size of `token_offset`, at least the longest sequence;
/// `picked` says of each sequence whether its last token is wanted instead of its first.
pub(crate) fn tensors(
    flat: PackedInputs,
    names: &[&'static str],
    longest: usize,
    picked: &[bool],
    rows: Rows,
) -> Vec<HostTensor> {
    let lengths: Vec<usize> = flat.lengths().collect();
    let (tokens, sequences) = (flat.ids.len(), lengths.len());
    let mut made = Vec::with_capacity(names.len());
    let mut put = |name, shape: Vec<usize>, values| made.push(HostTensor { name, shape, values });
    let wants = |name: &str| names.contains(&name);
    let groups = || match rows {
        Rows::Tokens => Groups::of(lengths.iter().copied()),
        Rows::Chunks => Groups::of(lengths.iter().map(|&n| pooling::chunks(n))),
    };
    if wants(input::TOKEN_OFFSET) {
        let offset = token_offset(&lengths, longest);
        put(input::TOKEN_OFFSET, vec![sequences, longest], Values::I32(offset));
    }
    if wants(input::PICKED_ROW) {
        let row = |(i, &first): (usize, &i32)| match picked.get(i) {
            Some(true) => flat.cumulative.get(i + 1).copied().unwrap_or(1) - 1,
            _ => first,
        };
        let rows = flat.first.iter().enumerate().map(row).collect();
        put(input::PICKED_ROW, vec![sequences], Values::I32(rows));
    }
    if wants(input::OWNER) {
        let owner = lengths.iter().zip(0..).flat_map(|(&n, i)| std::iter::repeat_n(i, n)).collect();
        put(input::OWNER, vec![1, tokens], Values::I32(owner));
    }
    if wants(input::SEQUENCE) {
        put(input::SEQUENCE, vec![sequences, 1], Values::I32((0..).take(sequences).collect()));
    }
    if wants(input::SHARE) {
        #[expect(clippy::cast_precision_loss, reason = "lengths are far below 2^24")]
        let share = lengths.iter().map(|&n| 1.0 / n.max(1) as f32).collect();
        put(input::SHARE, vec![sequences, 1], Values::F32(share));
    }
    if wants(input::ROW) {
        let groups = groups();
        put(input::ROW, vec![groups.last.len()], Values::I32((0..).take(groups.last.len()).collect()));
        put(input::LAST, vec![groups.last.len()], Values::I32(groups.last));
        put(input::GROUP, vec![sequences], Values::I32(groups.first));
    }
    if wants(input::CHUNKED) {
        let places = chunked(&lengths);
        put(input::CHUNKED, vec![places.len()], Values::I32(places));
    }
    if wants(input::PAIR_WORD) {
        let [words, labels] = pairs(&flat);
        put(input::PAIR_WORD, vec![words.len()], Values::I32(words));
        put(input::PAIR_LABEL, vec![labels.len()], Values::I32(labels));
    }
    for (name, values) in [
        (input::WORD_ROW, flat.words.rows),
        (input::WORD_BOUNDS, flat.words.bounds),
        (input::LABEL_ROW, flat.labels.rows),
        (input::LABEL_BOUNDS, flat.labels.bounds),
        (input::IDS, flat.ids),
        (input::PLACES, flat.places),
        (input::CUMULATIVE, flat.cumulative),
        (input::FIRST, flat.first),
        (input::KEYS, flat.keys),
        (input::FINAL, flat.last),
    ] {
        if names.contains(&name) {
            made.push(HostTensor { name, shape: vec![values.len()], values: Values::I32(values) });
        }
    }
    made
}

/// Every word of each sequence with every label of it, word by word.
fn pairs(flat: &PackedInputs) -> [Vec<i32>; 2] {
    let (mut words, mut labels) = (Vec::new(), Vec::new());
    for (of_words, of_labels) in flat.words.bounds.windows(2).zip(flat.labels.bounds.windows(2)) {
        for word in of_words[0]..of_words[1] {
            words.resize(words.len() + (of_labels[1] - of_labels[0]).max(0) as usize, word);
            labels.extend(of_labels[0]..of_labels[1]);
        }
    }
    [words, labels]
}

/// Places of a padded (sequences × longest) batch: first those that hold tokens, in
/// the order of the packed tokens, then the empty ones, as ONNX Runtime's packed
/// operators want it.
fn token_offset(lengths: &[usize], longest: usize) -> Vec<i32> {
    let place = |row: usize, column: usize| i32::try_from(row * longest + column).unwrap_or(i32::MAX);
    let mut places = Vec::with_capacity(lengths.len() * longest);
    for (row, &n) in lengths.iter().enumerate() {
        places.extend(place(row, 0)..place(row, n));
    }
    for (row, &n) in lengths.iter().enumerate() {
        places.extend(place(row, n)..place(row, longest));
    }
    places
}

/// Rows of equal groups, one a sequence.
struct Groups {
    /// Last row of each row's group.
    last: Vec<i32>,
    /// First row of each group.
    first: Vec<i32>,
}

impl Groups {
    fn of(sizes: impl Iterator<Item = usize>) -> Self {
        let mut groups = Groups { last: Vec::new(), first: Vec::new() };
        for size in sizes {
            let start = groups.last.len();
            groups.first.push(i32::try_from(start).unwrap_or(i32::MAX));
            let last = i32::try_from((start + size).saturating_sub(1)).unwrap_or(i32::MAX);
            groups.last.extend(std::iter::repeat_n(last, size));
        }
        groups
    }
}

/// Tokens of chunks, place by place: element `p · chunks + c` is the token at place
/// `p` of chunk `c`; past a sequence's end its last token is repeated.
fn chunked(lengths: &[usize]) -> Vec<i32> {
    let mut chunks: Vec<(usize, usize)> = Vec::new();
    let mut start = 0;
    for &n in lengths {
        chunks.extend((0..pooling::chunks(n)).map(|c| (start + c * pooling::CHUNK, start + n - 1)));
        start += n;
    }
    let place = |p: usize| chunks.iter().map(move |&(first, last)| (first + p).min(last));
    (0..pooling::CHUNK).flat_map(place).map(|t| i32::try_from(t).unwrap_or(i32::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::native::family::PositionSegments;

    fn lengths() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(1usize..80, 1..12)
    }

    #[test]
    fn offsets_are_those_of_the_operators_own_example() {
        // Three sequences of 1, 2 and 4 tokens, padded to 4.
        assert_eq!(token_offset(&[1, 2, 4], 4), [0, 4, 5, 8, 9, 10, 11, 1, 2, 3, 6, 7]);
    }

    proptest! {
        #[test]
        fn offsets_name_every_place_once_and_tokens_first(lengths in lengths(), more in 0usize..5) {
            let longest = lengths.iter().max().unwrap() + more;
            let offset = token_offset(&lengths, longest);
            let distinct: HashSet<_> = offset.iter().collect();
            prop_assert_eq!(distinct.len(), lengths.len() * longest);
            let mut places = offset.iter();
            for (b, &n) in lengths.iter().enumerate() {
                for s in 0..n {
                    prop_assert_eq!(*places.next().unwrap() as usize, b * longest + s);
                }
            }
        }

        #[test]
        fn chunks_hold_each_token_of_one_sequence(lengths in lengths()) {
            let places = chunked(&lengths);
            let chunks = places.len() / pooling::CHUNK;
            let groups = Groups::of(lengths.iter().map(|&n| pooling::chunks(n)));
            prop_assert_eq!(groups.last.len(), chunks);
            let mut start = 0;
            for (b, &n) in lengths.iter().enumerate() {
                let first = groups.first[b] as usize;
                let last = groups.last[first] as usize;
                let held: HashSet<usize> = (first..=last)
                    .flat_map(|c| (0..pooling::CHUNK).map(move |p| (p, c)))
                    .map(|(p, c)| places[p * chunks + c] as usize)
                    .collect();
                prop_assert_eq!(held, (start..start + n).collect::<HashSet<_>>());
                start += n;
            }
        }

        #[test]
        fn shapes_fit_their_values(lengths in lengths(), picked in prop::collection::vec(any::<bool>(), 12)) {
            let sequences: Vec<_> = lengths.iter().map(|&n| crate::item::Sequence { ids: vec![1; n], ..Default::default() }).collect();
            let flat = PackedInputs::pack(&sequences, PositionSegments { first: 2, segments: 2, pad: None, counts: true, passed_over: None });
            let longest = *lengths.iter().max().unwrap();
            let made = tensors(flat.clone(), &INPUTS, longest, &picked, Rows::Tokens);
            prop_assert_eq!(made.len(), INPUTS.len());
            for t in &made {
                let n = match &t.values { Values::I32(v) => v.len(), Values::F32(v) => v.len() };
                prop_assert_eq!(t.shape.iter().product::<usize>(), n, "{}", t.name);
            }
            let rows = made.iter().find(|t| t.name == input::PICKED_ROW).unwrap();
            let Values::I32(rows) = &rows.values else { panic!("rows are whole numbers") };
            for (i, &row) in rows.iter().enumerate() {
                let want = if picked[i] { flat.cumulative[i + 1] - 1 } else { flat.cumulative[i] };
                prop_assert_eq!(row, want);
            }
        }
    }
}
