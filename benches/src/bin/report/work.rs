//! The shapes of work, by name.

use sortie_benches::jobs::Jobs;
use sortie_lab::{bench::BenchTask, sizes::SizeDistribution};

/// A shape of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WorkShape {
    /// 200 passages of log-normal lengths
    #[value(name = "rerank-200")]
    Rerank200,
    /// 1,000 titles
    #[value(name = "rerank-1000-short")]
    Rerank1000Short,
    /// 20 pages
    #[value(name = "rerank-20-long")]
    Rerank20Long,
    /// Vectors of 64 passages
    EmbedBulk,
    /// A vector of one passage
    EmbedSingle,
    /// One text before a tight deadline
    ClassifyGuard,
    /// The same beside bulk work
    Mixed,
}

impl WorkShape {
    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rerank200 => "rerank-200",
            Self::Rerank1000Short => "rerank-1000-short",
            Self::Rerank20Long => "rerank-20-long",
            Self::EmbedBulk => "embed-bulk",
            Self::EmbedSingle => "embed-single",
            Self::ClassifyGuard => "classify-guard",
            Self::Mixed => "mixed",
        }
    }

    /// What its jobs are.
    pub(crate) const fn jobs(self) -> Jobs {
        let (documents, median, sigma) = match self {
            Self::Rerank200 => return Jobs::LARGE,
            Self::Rerank1000Short => (1_000, 96, 0.3),
            Self::Rerank20Long => (20, 6_000, 0.3),
            Self::EmbedBulk => (64, 548, 0.45),
            Self::EmbedSingle => (1, 548, 0.45),
            Self::ClassifyGuard | Self::Mixed => (1, 400, 0.45),
        };
        Jobs { documents: SizeDistribution::Fixed(documents), bytes: SizeDistribution::LogNormal { median, sigma } }
    }

    /// What is asked.
    pub(crate) const fn task(self) -> BenchTask {
        match self {
            Self::Rerank200 | Self::Rerank1000Short | Self::Rerank20Long => BenchTask::Rerank,
            Self::EmbedBulk | Self::EmbedSingle => BenchTask::Embed,
            Self::ClassifyGuard | Self::Mixed => BenchTask::Classify,
        }
    }

    /// Mean tokens of a job on a timed device, which has four bytes to a token.
    pub(crate) fn tokens(self) -> f64 {
        let jobs = self.jobs();
        match self.task() {
            BenchTask::Rerank => jobs.tokens(),
            BenchTask::Embed | BenchTask::Classify => jobs.documents.mean() * (jobs.bytes.mean() / 4.0 + 0.5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_of_many_documents_are_of_one_size() {
        for shape in [WorkShape::Rerank200, WorkShape::Rerank1000Short, WorkShape::Rerank20Long] {
            assert!((shape.tokens() / 32_500.0 - 1.0).abs() < 0.06, "{}: {}", shape.name(), shape.tokens());
        }
        assert!(WorkShape::ClassifyGuard.tokens() < 150.0);
    }
}
