//! What an encoder computes, and which tensors hold its numbers: what a family's file returns, and all that the graph is
//! written from.

use std::ops::Range;

use super::{
    FeedForward, PositionSegments, Rope,
    heads::{Heads, Reads},
    parts::{Linear, Norm, Pointwise},
};

/// An encoder.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    /// Width of a token's state.
    pub(crate) hidden: usize,
    /// Rows of the word table.
    pub(crate) vocab: usize,
    /// Tokens in the longest sequence.
    pub(crate) longest: usize,
    pub(crate) embedding: Embedding,
    pub(crate) layers: Vec<Layer>,
    /// Over the stream behind the last layer, where layers norm what they read.
    pub(crate) last_norm: Option<Norm>,
    pub(crate) heads: Heads,
    /// Sequences may end in tokens that are not attended to.
    pub(crate) unseen: bool,
}

/// What a token is before the first layer.
#[derive(Clone, Debug)]
pub(crate) struct Embedding {
    /// Tensor of the word table (vocabulary × width).
    pub(crate) words: String,
    pub(crate) width: usize,
    /// Each word vector is multiplied by it.
    pub(crate) scale: Option<f32>,
    pub(crate) positions: Option<Positions>,
    pub(crate) segments: Option<Segments>,
    pub(crate) norm: Option<Norm>,
    /// From `width` to the encoder's.
    pub(crate) projection: Option<Linear>,
}

/// A table of positions that is added to the words.
#[derive(Clone, Debug)]
pub(crate) struct Positions {
    pub(crate) name: String,
    pub(crate) rows: usize,
    /// Row of a sequence's first token.
    pub(crate) first: usize,
    /// Id of the pad token, where a text may spell it out: it then has the pad's own position.
    pub(crate) pad: Option<u32>,
}

/// A table of segments that is added to the words.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    pub(crate) name: String,
    pub(crate) rows: usize,
}

/// A layer: attention, then a feed-forward part, each added to the stream.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) attention: Attention,
    pub(crate) feed_forward: FeedForward,
    pub(crate) norms: Norms,
}

/// Where a layer's norms stand.
#[derive(Clone, Debug)]
pub(crate) enum Norms {
    /// Each sum of stream and part is normed.
    Post { attention: Norm, feed_forward: Norm },
    /// What a part reads of the stream is normed.
    Pre {
        /// `None`: the attention reads the stream itself.
        attention: Option<Norm>,
        feed_forward: Norm,
        /// What each part gives is normed too.
        given: Option<Box<GivenNorms>>,
    },
}

/// Norms over what the parts of a layer give, before it is added.
#[derive(Clone, Debug)]
pub(crate) struct GivenNorms {
    pub(crate) attention: Norm,
    pub(crate) feed_forward: Norm,
}

/// Self-attention.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    pub(crate) heads: usize,
    /// Heads of keys and values: `heads`, or a part of them that each serves several.
    pub(crate) kv_heads: usize,
    /// Numbers in a head.
    pub(crate) size: usize,
    /// What scores are multiplied by.
    pub(crate) scale: f32,
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    pub(crate) out: Linear,
    /// Over each head of queries and of keys, before they are rotated.
    pub(crate) query_key_norm: Option<QueryKeyNorm>,
    pub(crate) rope: Option<Rope>,
    pub(crate) sight: Sight,
    pub(crate) distances: Option<Distances>,
}

/// RMS norms of heads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QueryKeyNorm {
    pub(crate) query: Norm,
    pub(crate) key: Norm,
}

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    All,
    /// Those of tokens before it, and its own.
    Causal,
    /// Those that are no further away.
    Window(usize),
}

impl Sight {
    /// Keys that queries of these places see together, of `keys`.
    pub(crate) fn of(self, queries: &Range<usize>, keys: usize) -> Range<usize> {
        match self {
            Sight::All => 0..keys,
            Sight::Causal => 0..keys.min(queries.end),
            Sight::Window(radius) => {
                let end = keys.min(queries.end.saturating_add(radius));
                queries.start.saturating_sub(radius).min(end)..end
            }
        }
    }
}

/// What the distance of a key to its query adds to a score.
#[derive(Clone, Debug)]
pub(crate) enum Distances {
    /// A number by distance and head, added to the scaled score: a column of this table (buckets × heads).
    Buckets { name: String, buckets: DistanceBuckets },
    /// Minus a slope of each head times the distance.
    Slopes(Vec<f32>),
    /// DeBERTa's: keys against vectors of distances, and queries against others.
    Vectors(Box<DistanceVectors>),
}

/// T5's buckets of distances: near ones have one each, farther ones share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DistanceBuckets {
    /// Rows of the table; half of them are for keys before the query.
    pub(crate) count: usize,
    /// From this distance on all share the last.
    pub(crate) furthest: usize,
}

/// DeBERTa's vectors of distances.
#[derive(Clone, Debug)]
pub(crate) struct DistanceVectors {
    /// The table (2·span × hidden), and the norm over it.
    pub(crate) table: String,
    pub(crate) norm: Option<Norm>,
    pub(crate) span: usize,
    /// Buckets on each side, and the distance that the last begins at; `None`: each distance has its own.
    pub(crate) buckets: Option<(usize, usize)>,
    /// Makes what queries meet; `None` where they meet nothing.
    pub(crate) key: Option<Linear>,
    /// Makes what keys meet.
    pub(crate) query: Option<Linear>,
}

impl Encoder {
    /// How the places of its tokens are counted.
    pub(crate) fn numbering(&self) -> PositionSegments {
        let positions = self.embedding.positions.as_ref();
        PositionSegments {
            first: positions.map_or(0, |p| p.first),
            segments: self.segments().max(1),
            pad: positions.and_then(|p| p.pad),
            counts: positions.is_some(),
            passed_over: match self.heads.sequence.as_ref().map(|head| head.reads) {
                Some(Reads::Last { pad }) => pad,
                _ => None,
            },
        }
    }

    /// Whether its texts may be longer than its configuration says: there is no table of positions, and from some distance on
    /// all keys are alike to a query.
    pub(crate) fn ends_nowhere(&self) -> bool {
        let alike = |layer: &Layer| matches!(layer.attention.distances, Some(Distances::Vectors(_)));
        self.embedding.positions.is_none() && self.layers.iter().all(|l| l.attention.rope.is_none() && alike(l))
    }

    /// Rows of the segment table; 0 where there is none.
    pub(crate) fn segments(&self) -> usize {
        self.embedding.segments.as_ref().map_or(0, |s| s.rows)
    }

    /// Weights of its layers' products that a token goes through. Biases and norms are left out, a thousandth of them.
    pub(crate) fn layer_parameters(&self) -> u64 {
        self.layers.iter().map(|layer| layer.numbers() as u64).sum()
    }

    /// Length in tokens at which attention over all pairs takes as long as everything else; 0 where no layer sees all.
    ///
    /// Counted in multiplications: of a token `layer_parameters`, and with each key that it sees two a number of its query
    /// heads, which take `dearer` times as long each. A causal layer sees half of the pairs; one with a window does the same
    /// for every token.
    pub(crate) fn doubling_length(&self, dearer: f64) -> u32 {
        let (mut each, mut pairs) = (self.layer_parameters() as f64, 0.0);
        for attention in self.layers.iter().map(|layer| &layer.attention) {
            let key = dearer * 2.0 * (attention.heads * attention.size) as f64;
            match attention.sight {
                Sight::All => pairs += key,
                Sight::Causal => pairs += key / 2.0,
                Sight::Window(radius) => each += key * (2 * radius + 1) as f64,
            }
        }
        // A cast saturates; less than one token would be none.
        if pairs > 0.0 { ((each / pairs).round() as u32).max(1) } else { 0 }
    }

    /// Widest state between the products of a feed-forward part, both halves of a gated one counted.
    pub(crate) fn inner(&self) -> usize {
        self.layers.iter().map(|layer| layer.feed_forward.inner()).max().unwrap_or(0)
    }

    /// Numbers of a token that go into attention.
    pub(crate) fn projected(&self) -> usize {
        self.layers.iter().map(|layer| layer.attention.projected()).max().unwrap_or(0)
    }

    /// What its layers do that BERT's do not, in words; `None` where they are the same or take operators that every device has.
    pub(crate) fn beyond_plain(&self) -> Option<&'static str> {
        self.layers.iter().find_map(|layer| match layer.feed_forward {
            FeedForward::Experts(_) => Some("layers of experts"),
            _ => layer.attention.beyond_plain(self.hidden),
        })
    }

    /// What no GPU does yet, in words.
    pub(crate) fn beyond_kernels(&self) -> Option<&'static str> {
        self.layers.iter().find_map(|layer| {
            let a = &layer.attention;
            let most = if a.distances.is_some() { 128 } else { 256 };
            (a.size > most).then_some("attention with heads so large")
        })
    }

    /// Whether a GPU needs our own kernels for it: its layers do more than BERT's, or not every token is attended to.
    pub(crate) fn needs_kernels(&self) -> bool {
        self.unseen || self.beyond_plain().is_some()
    }

    /// Heads of its layers where all are BERT's: every token seen, nothing of places in the scores, as many heads of keys
    /// as of queries.
    pub(crate) fn plain_heads(&self) -> Option<usize> {
        self.layers.first().filter(|_| self.beyond_plain().is_none()).map(|layer| layer.attention.heads)
    }

    /// Inner width and activation where layers norm their sums and none is gated.
    pub(crate) fn plain_feed_forward(&self) -> Option<(usize, Pointwise)> {
        let plain = |layer: &Layer| match (&layer.norms, &layer.feed_forward) {
            (Norms::Post { .. }, FeedForward::Plain { up, act, .. }) => Some((up.to(), *act)),
            _ => None,
        };
        let first = plain(self.layers.first()?)?;
        self.layers.iter().all(|layer| plain(layer) == Some(first)).then_some(first)
    }
}

impl Layer {
    /// Weights of the products that a token goes through.
    fn numbers(&self) -> usize {
        let a = &self.attention;
        let attention = [&a.query, &a.key, &a.value, &a.out].into_iter().map(Linear::numbers).sum::<usize>();
        attention + self.feed_forward.numbers()
    }
}

impl Attention {
    /// Queries, keys and values of a token.
    pub(crate) fn projected(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.size
    }

    /// What it does that BERT's attention does not, in words; `None` where it is the same.
    pub(crate) fn beyond_plain(&self, hidden: usize) -> Option<&'static str> {
        if self.rope.is_some() {
            return Some("rotary positions");
        }
        match self.sight {
            Sight::All => {}
            Sight::Causal => return Some("causal attention"),
            Sight::Window(_) => return Some("attention within a window"),
        }
        if self.distances.is_some() {
            return Some("attention by distance");
        }
        if self.query_key_norm.is_some() {
            return Some("norms of queries and keys");
        }
        if self.kv_heads != self.heads || self.heads * self.size != hidden {
            return Some("heads that share keys or are not as wide together as the states");
        }
        (self.scale != plain_scale(self.size)).then_some("attention with a scale of its own")
    }
}

/// What scores of heads of this size are multiplied by nearly everywhere.
pub(crate) fn plain_scale(size: usize) -> f32 {
    1.0 / (size as f32).sqrt()
}
