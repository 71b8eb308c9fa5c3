//! The jobs that timed servers are given.
//!
//! A timed model has a token for every four bytes. A pair is a document and the generator's query of 30 bytes (8
//! tokens).

use sortie_lab::sizes::SizeDistribution;

/// Tokens of the generator's queries in a timed model.
const QUERY_TOKENS: f64 = 8.0;

/// Bytes of a token in a timed model.
const BYTES: f64 = 4.0;

/// What a job is like.
#[derive(Clone, Copy, Debug)]
pub struct Jobs {
    /// Documents.
    pub documents: SizeDistribution,
    /// Bytes of one.
    pub bytes: SizeDistribution,
}

impl Jobs {
    /// About 32,000 tokens: 200 documents of mixed lengths.
    pub const LARGE: Self = Self { documents: SizeDistribution::Fixed(200), bytes: mixed(548) };

    /// About 2,100 tokens: 4 to 24 documents of mixed lengths.
    pub const SMALL: Self = Self { documents: SizeDistribution::Uniform(4, 24), bytes: mixed(510) };

    /// Mean tokens of a job, half a token lost to rounding included.
    #[must_use]
    pub fn tokens(&self) -> f64 {
        self.documents.mean() * (self.bytes.mean() / BYTES + 0.5 + QUERY_TOKENS)
    }

    /// The arguments of `sortie bench`.
    #[must_use]
    pub fn arguments(&self) -> [String; 4] {
        let Self { documents, bytes } = self;
        ["--documents".to_owned(), documents.to_string(), "--bytes".to_owned(), bytes.to_string()]
    }
}

/// Lengths of passages around a median.
const fn mixed(median: u64) -> SizeDistribution {
    SizeDistribution::LogNormal { median, sigma: 0.45 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_jobs_are_those_of_the_design() {
        assert!((Jobs::LARGE.tokens() - 32_000.0).abs() < 500.0, "{}", Jobs::LARGE.tokens());
    }
}
