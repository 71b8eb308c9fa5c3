//! Where special tokens go.
//!
//! The file's post-processor (Template, Bert, Roberta, or a Sequence of them) is
//! run once at load on marker ids that no vocabulary holds; what stands around
//! the markers is the template. Runs on markers of other lengths must then come
//! out the same, or there is no template and the post-processor itself is run
//! for every sequence.

use tokenizers::{Encoding, PostProcessor};

use super::{
    piece::{Piece, PieceForm},
    truncate::Kept,
};

/// First of the marker ids: above any id of a real vocabulary.
const MARKER: u32 = u32::MAX - 2 * MARKER_SPAN;

/// Marker ids a text may have.
const MARKER_SPAN: u32 = 64;

/// Lengths the template is checked at: empty sides, one token, unequal sides.
const CHECKED: [(usize, usize); 6] = [(0, 0), (0, 3), (4, 0), (1, 1), (5, 2), (2, 7)];

/// Fixed tokens and their segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Affix {
    ids: Vec<u32>,
    type_ids: Vec<u32>,
}

/// What stands around the texts of one kind of sequence: `affixes[i]` before
/// text `i`, the last behind all; `segments[i]` is the type id of text `i`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    affixes: Vec<Affix>,
    segments: Vec<u32>,
}

/// The templates of single texts and of pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    single: Frame,
    pair: Frame,
}

impl Template {
    /// Works out the template, or says why there is none.
    pub(super) fn derive(tokenizer: &tokenizers::Tokenizer) -> tokenizers::Result<Self> {
        let template = Template {
            single: Frame::read(&run(tokenizer, 2, None)?, &[2])?,
            pair: Frame::read(&run(tokenizer, 2, Some(3))?, &[2, 3])?,
        };
        for (a, b) in CHECKED {
            template.check(tokenizer, a, None)?;
            template.check(tokenizer, a, Some(b))?;
        }
        Ok(template)
    }

    /// Compares with a run on markers.
    fn check(&self, tokenizer: &tokenizers::Tokenizer, a: usize, b: Option<usize>) -> tokenizers::Result<()> {
        let truth = run(tokenizer, a, b)?;
        let (first, second) = (markers(0, a), b.map(|n| markers(1, n)));
        let (ids, type_ids) = self.assemble(&first, second.as_deref());
        if ids != truth.get_ids() || type_ids != truth.get_type_ids() {
            return Err("special tokens depend on the length of the text".into());
        }
        if added(tokenizer, b.is_some()) != self.specials(b.is_some()) {
            return Err("the post-processor adds another number of tokens than it says".into());
        }
        Ok(())
    }

    /// Special tokens it adds.
    pub(super) fn specials(&self, pair: bool) -> usize {
        self.frame(pair).affixes.iter().map(|a| a.ids.len()).sum()
    }

    /// Special tokens before a single text.
    pub(super) fn before_single(&self) -> usize {
        self.single.affixes.first().map_or(0, |affix| affix.ids.len())
    }

    /// Ids and type ids of a whole sequence.
    pub(super) fn assemble(&self, a: &[u32], b: Option<&[u32]>) -> (Vec<u32>, Vec<u32>) {
        let frame = self.frame(b.is_some());
        let length = a.len() + b.map_or(0, <[u32]>::len) + self.specials(b.is_some());
        let (mut ids, mut type_ids) = (Vec::with_capacity(length), Vec::with_capacity(length));
        let texts = [Some(a), b].into_iter().flatten();
        for (i, affix) in frame.affixes.iter().enumerate() {
            ids.extend_from_slice(&affix.ids);
            type_ids.extend_from_slice(&affix.type_ids);
            if let (Some(text), Some(&segment)) = (texts.clone().nth(i), frame.segments.get(i)) {
                ids.extend_from_slice(text);
                type_ids.resize(ids.len(), segment);
            }
        }
        (ids, type_ids)
    }

    fn frame(&self, pair: bool) -> &Frame {
        if pair { &self.pair } else { &self.single }
    }
}

impl Frame {
    /// Reads the tokens around the markers of `lengths[i]` tokens each.
    fn read(encoding: &Encoding, lengths: &[usize]) -> tokenizers::Result<Self> {
        let (ids, type_ids) = (encoding.get_ids(), encoding.get_type_ids());
        let mut frame = Frame { affixes: Vec::new(), segments: Vec::new() };
        let mut from = 0;
        for (text, &n) in lengths.iter().enumerate() {
            let marks = markers(text, n);
            let at = (from..ids.len()).find(|&i| ids[i..].starts_with(&marks)).ok_or("a text is missing or split")?;
            frame.affixes.push(Affix::read(&ids[from..at], &type_ids[from..at])?);
            frame.segments.push(type_ids[at]);
            from = at + n;
        }
        frame.affixes.push(Affix::read(&ids[from..], &type_ids[from..])?);
        Ok(frame)
    }
}

impl Affix {
    fn read(ids: &[u32], type_ids: &[u32]) -> tokenizers::Result<Self> {
        if ids.iter().any(|&id| id >= MARKER) {
            return Err("a text is used twice or out of order".into());
        }
        Ok(Affix { ids: ids.to_vec(), type_ids: type_ids.to_vec() })
    }
}

/// Special tokens the post-processor says it adds.
pub(super) fn added(tokenizer: &tokenizers::Tokenizer, pair: bool) -> usize {
    tokenizer.get_post_processor().map_or(0, |p| p.added_tokens(pair))
}

/// Runs the post-processor on the kept tokens of pieces that carry encodings.
pub(super) fn processed(
    tokenizer: &tokenizers::Tokenizer,
    a: &Piece,
    b: Option<&Piece>,
    kept: &Kept,
    specials: bool,
) -> tokenizers::Result<Encoding> {
    let second = b.map(|b| b.part(kept.second, kept.left)).transpose()?;
    tokenizer.post_process(a.part(kept.first, kept.left)?, second, specials)
}

/// Largest id the post-processor puts into single texts or pairs of its own accord.
pub(super) fn highest_special(tokenizer: &tokenizers::Tokenizer) -> tokenizers::Result<Option<u32>> {
    let (single, pair) = (run(tokenizer, 1, None)?, run(tokenizer, 1, Some(1))?);
    // Markers are the only ids that may be as high as this; a special that high is as good as a marker to a model.
    let special = |encoding: &Encoding| {
        let specials = encoding.get_ids().iter().zip(encoding.get_special_tokens_mask()).filter(|&(_, &m)| m == 1);
        specials.map(|(&id, _)| id).max()
    };
    Ok(special(&single).max(special(&pair)))
}

/// Ids of the markers of text 0 or 1.
fn markers(text: usize, n: usize) -> Vec<u32> {
    let first = if text == 0 { MARKER } else { MARKER + MARKER_SPAN };
    (first..).take(n).collect()
}

/// The post-processor's output for markers.
fn run(tokenizer: &tokenizers::Tokenizer, a: usize, b: Option<usize>) -> tokenizers::Result<Encoding> {
    let piece =
        |text: usize, n| Piece::of_ids(tokenizer, &markers(text, n), PieceForm::Encoding { segment: text as u32 });
    let kept = Kept { first: a, second: b.unwrap_or(0), truncated: false, left: false };
    processed(tokenizer, &piece(0, a), b.map(|n| piece(1, n)).as_ref(), &kept, true)
}
