//! Texts that are too long, read in windows in place of being cut.

use sortie_proto::v1;

/// How the scores of a document's windows become its score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WindowScore {
    /// The best window's.
    #[default]
    Max,
    /// The first window's.
    First,
    /// The mean, weighted by the document's tokens in each window.
    Mean,
}

/// Windows over documents that are longer than the model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Windows {
    /// Tokens that neighbouring windows share.
    pub stride: u32,
    /// What becomes of their scores.
    pub score: WindowScore,
}

impl Windows {
    /// Windows that share `stride` tokens; the best one's score counts.
    #[must_use]
    pub fn new(stride: u32) -> Self {
        Self { stride, score: WindowScore::default() }
    }

    /// Sets what becomes of the windows' scores.
    #[must_use]
    pub fn score(self, score: WindowScore) -> Self {
        Self { score, ..self }
    }

    pub(crate) fn to_wire(self) -> v1::Windows {
        let score = match self.score {
            WindowScore::Max => v1::WindowScore::Max,
            WindowScore::First => v1::WindowScore::First,
            WindowScore::Mean => v1::WindowScore::Mean,
        };
        v1::Windows { stride: self.stride, score: score.into() }
    }
}
