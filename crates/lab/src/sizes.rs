//! Distributions of sizes: a number, `uniform:LEAST:MOST` or `lognormal:MEDIAN:SIGMA`.

use std::{fmt, str::FromStr};

use rand::{Rng, RngExt as _};
use rand_distr::{Distribution as _, StandardNormal};

/// Largest size that may be asked for: no message holds more documents, or bytes, than this.
const MOST: u64 = 1 << 26;

/// Draws past so many times the median are taken for this: one draw must not be the whole benchmark.
const LONGEST_TAIL: f64 = 64.0;

/// The value of a log-normal distribution that lies `z` deviations of the logarithm from the median.
#[must_use]
pub fn log_normal(median: f64, sigma: f64, z: f64) -> f64 {
    median * (sigma * z).exp()
}

/// A distribution of whole numbers, 1 at least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SizeDistribution {
    /// Always the same.
    Fixed(u64),
    /// Each from the first to the second alike.
    Uniform(u64, u64),
    /// A normal distribution of the logarithm.
    LogNormal {
        /// Half the draws are below.
        median: u64,
        /// Standard deviation of the natural logarithm.
        sigma: f64,
    },
}

impl SizeDistribution {
    /// One draw.
    pub fn draw(&self, rng: &mut impl Rng) -> u64 {
        match *self {
            Self::Fixed(n) => n,
            Self::Uniform(least, most) => rng.random_range(least..=most),
            Self::LogNormal { median, sigma } => {
                let normal: f64 = StandardNormal.sample(rng);
                let size = log_normal(median as f64, sigma, normal).min(median as f64 * LONGEST_TAIL);
                (size.round() as u64).clamp(1, MOST)
            }
        }
    }

    /// Its mean, the cut of the longest tail left out.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match *self {
            Self::Fixed(n) => n as f64,
            Self::Uniform(least, most) => (least + most) as f64 / 2.0,
            Self::LogNormal { median, sigma } => median as f64 * (sigma * sigma / 2.0).exp(),
        }
    }
}

impl fmt::Display for SizeDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(n) => write!(f, "{n}"),
            Self::Uniform(least, most) => write!(f, "uniform:{least}:{most}"),
            Self::LogNormal { median, sigma } => write!(f, "lognormal:{median}:{sigma}"),
        }
    }
}

impl FromStr for SizeDistribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = |text: &str| match text.parse::<u64>() {
            Ok(n) if (1..=MOST).contains(&n) => Ok(n),
            _ => Err(format!("{text:?} is not a whole number within 1 to {MOST}")),
        };
        match text.split(':').collect::<Vec<_>>().as_slice() {
            [n] => size(n).map(Self::Fixed),
            ["uniform", least, most] => match (size(least)?, size(most)?) {
                (least, most) if least <= most => Ok(Self::Uniform(least, most)),
                _ => Err("uniform:LEAST:MOST must have LEAST at most MOST".to_owned()),
            },
            ["lognormal", median, sigma] => match sigma.parse::<f64>() {
                Ok(sigma) if (0.0..=3.0).contains(&sigma) => Ok(Self::LogNormal { median: size(median)?, sigma }),
                _ => Err(format!("sigma {sigma:?} is not a number within 0 to 3")),
            },
            _ => Err("is not N, uniform:LEAST:MOST or lognormal:MEDIAN:SIGMA".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in ["200", "uniform:1:9", "lognormal:540:0.45"] {
            assert_eq!(text.parse::<SizeDistribution>().unwrap().to_string(), text);
        }
        for text in ["", "0", "x", "uniform:9:1", "lognormal:5", "lognormal:5:-1", "lognormal:5:nan"] {
            assert!(text.parse::<SizeDistribution>().is_err(), "{text}");
        }
    }

    #[test]
    fn draws_have_the_mean_and_stay_within() {
        let mut rng = StdRng::seed_from_u64(7);
        for text in ["200", "uniform:100:300", "lognormal:540:0.45"] {
            let distribution: SizeDistribution = text.parse().unwrap();
            let mean = (0..20_000).map(|_| distribution.draw(&mut rng) as f64).sum::<f64>() / 20_000.0;
            assert!((mean / distribution.mean() - 1.0).abs() < 0.02, "{text}: {mean}");
        }
        assert!((0..1000).all(|_| (3..=4).contains(&SizeDistribution::Uniform(3, 4).draw(&mut rng))));
    }
}
