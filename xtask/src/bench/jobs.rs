//! The jobs that timed servers are given.
//!
//! A timed model has a token for every four bytes. A pair is a document and the generator's query of 30 bytes (8
//! tokens).

/// Tokens of the generator's queries in a timed model.
const QUERY_TOKENS: f64 = 8.0;

/// Bytes of a token in a timed model.
const BYTES: f64 = 4.0;

/// What a job is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jobs {
    /// Documents, as `sortie bench` reads it.
    pub(super) documents: &'static str,
    /// Their mean.
    pub(super) mean_documents: f64,
    /// Median bytes of a document.
    pub(super) median_bytes: f64,
    /// Deviation of the logarithm of the bytes.
    pub(super) sigma: f64,
}

impl Jobs {
    /// About 32,000 tokens: 200 documents of mixed lengths.
    pub(super) const LARGE: Self = Self { documents: "200", mean_documents: 200.0, median_bytes: 548.0, sigma: 0.45 };

    /// About 2,100 tokens: 4 to 24 documents of mixed lengths.
    pub(super) const SMALL: Self =
        Self { documents: "uniform:4:24", mean_documents: 14.0, median_bytes: 510.0, sigma: 0.45 };

    /// Mean tokens of a job, half a token lost to rounding included.
    pub(super) fn tokens(&self) -> f64 {
        let bytes = self.median_bytes * (self.sigma * self.sigma / 2.0).exp();
        self.mean_documents * (bytes / BYTES + 0.5 + QUERY_TOKENS)
    }

    /// The arguments of `sortie bench`.
    pub(super) fn arguments(&self) -> [String; 4] {
        let bytes = format!("lognormal:{}:{}", self.median_bytes, self.sigma);
        ["--documents".to_owned(), self.documents.to_owned(), "--bytes".to_owned(), bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_jobs_are_those_of_the_design() {
        assert!((Jobs::LARGE.tokens() - 32_000.0).abs() < 500.0, "{}", Jobs::LARGE.tokens());
    }
}
