//! What a layer does behind its attention, for some rows at a time: the attention's last product, the sum with the stream, a norm,
//! the two or three products of the feed-forward part with its activation, the second sum, a norm.
//!
//! ```text
//! attended → out ─(+ stream)→ norm → up → act → down ─(+)→ norm → what the next layer reads
//! ```
//!
//! Nothing between leaves the core's cache: a block of rows goes through all of it, and only the weights stream by.

mod run;
mod single;

use crate::{check::PackError, rows, weight::KeptWeight};

pub use rows::{Act, RowNorm};

/// What widens a row and acts on it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Widening {
    /// `act(x·up)`.
    Plain {
        /// (hidden × inner).
        up: KeptWeight,
        /// Its activation.
        act: Act,
    },
    /// `act(x·gate) ⊙ x·up`.
    Gated {
        /// (hidden × inner): the half that is activated.
        gate: KeptWeight,
        /// (hidden × inner).
        up: KeptWeight,
        /// The activation of `gate`.
        act: Act,
    },
}

/// Where norms stand.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LayerNorms {
    /// Over each sum, which is the stream from there on.
    Post {
        /// Over what attention gave and the stream.
        attention: RowNorm,
        /// Over what the feed-forward part gave and that.
        feed_forward: RowNorm,
    },
    /// Over what a part reads; the stream goes by.
    Pre {
        /// Over what attention and the feed-forward part give, before it is added, as Gemma has it.
        given: Option<Box<[RowNorm; 2]>>,
        /// Over what the feed-forward part reads.
        feed_forward: Box<RowNorm>,
        /// Over what the next layer reads; `None`: the stream itself.
        next: Option<Box<RowNorm>>,
    },
}

/// What attention gave.
#[derive(Clone, Copy, Debug)]
pub enum Attended<'a> {
    /// In f32.
    Numbers(&'a [f32]),
    /// In bf16: the bits of each number.
    Halves(&'a [u16]),
}

impl Attended<'_> {
    /// How many numbers there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Numbers(all) => all.len(),
            Self::Halves(all) => all.len(),
        }
    }

    /// `count` numbers from place `first` on.
    pub(crate) fn part(&self, first: usize, count: usize) -> Self {
        match self {
            Self::Numbers(all) => Self::Numbers(&all[first..][..count]),
            Self::Halves(all) => Self::Halves(&all[first..][..count]),
        }
    }
}

/// Where a block's rows go.
#[derive(Debug)]
pub struct LayerOutput<'a> {
    /// (rows × hidden): what the next layer reads.
    pub read: &'a mut [f32],
    /// (rows × hidden): the stream, where it is not what is read.
    pub sum: Option<&'a mut [f32]>,
}

/// A layer's part behind its attention, with its weights.
#[derive(Debug)]
pub struct LayerRest {
    out: KeptWeight,
    widening: Widening,
    down: KeptWeight,
    norms: LayerNorms,
}

impl LayerRest {
    /// Of these parts.
    ///
    /// # Errors
    /// [`PackError::Width`] where their widths do not fit.
    pub fn new(out: KeptWeight, widening: Widening, down: KeptWeight, norms: LayerNorms) -> Result<Self, PackError> {
        let hidden = out.shape()[1];
        let wide = |what, given, wanted| {
            if given == wanted { Ok(()) } else { Err(PackError::Width { what, given, wanted }) }
        };
        let ups = match &widening {
            Widening::Plain { up, .. } => vec![up],
            Widening::Gated { gate, up, .. } => vec![gate, up],
        };
        for up in ups {
            wide("a row of the first product of a feed-forward part", up.shape()[0], hidden)?;
            wide("the first product of a feed-forward part", up.shape()[1], down.shape()[0])?;
        }
        wide("the second product of a feed-forward part", down.shape()[1], hidden)?;
        for norm in norms.all() {
            wide("a norm", norm.weight.len(), hidden)?;
            if !norm.bias.is_empty() {
                wide("a norm's bias", norm.bias.len(), hidden)?;
            }
        }
        Ok(Self { out, widening, down, norms })
    }

    /// Numbers in a row of what attention gives, and in a row of the stream.
    #[must_use]
    pub fn widths(&self) -> [usize; 2] {
        self.out.shape()
    }

    /// Whether the stream is given beside what is read.
    #[must_use]
    pub fn gives_sum(&self) -> bool {
        matches!(self.norms, LayerNorms::Pre { next: Some(_), .. })
    }

    /// Its weights.
    pub fn weights(&self) -> impl Iterator<Item = &KeptWeight> {
        let [first, second] = match &self.widening {
            Widening::Plain { up, .. } => [Some(up), None],
            Widening::Gated { gate, up, .. } => [Some(gate), Some(up)],
        };
        [Some(&self.out), first, second, Some(&self.down)].into_iter().flatten()
    }
}

impl LayerNorms {
    fn all(&self) -> Vec<&RowNorm> {
        match self {
            Self::Post { attention, feed_forward } => vec![attention, feed_forward],
            Self::Pre { given, feed_forward, next } => {
                let given = given.iter().flat_map(|given| given.iter());
                given.chain([&**feed_forward]).chain(next.as_deref()).collect()
            }
        }
    }
}
