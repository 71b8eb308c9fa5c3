//! What a timed model costs, as its name says: `key=value` separated by commas.
//!
//! Times are in milliseconds (`a_ms`) and microseconds (`b_us`); the duration of a batch is
//! `(a + b·tokens) · slow · noise`, where `ln noise` is normal with deviation `noise` and the mean of `noise` is 1.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

/// Longest fixed cost and longest token: past these a figure is a slip of the pen.
const MOST_MS: f64 = 60_000.0;

/// Widest noise: at 1 a batch in six takes less than a third of its cost or more than twice.
const MOST_NOISE: f64 = 1.0;

/// The cost of a timed model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Spec {
    /// Milliseconds of a batch whatever its size.
    pub(crate) a_ms: f64,
    /// Microseconds of one token.
    pub(crate) b_us: f64,
    /// Standard deviation of the noise's logarithm.
    pub(crate) noise: f64,
    /// Where the noise begins.
    pub(crate) seed: u64,
    /// A file that holds a factor for every batch from then on; 1 while it is missing or makes no sense.
    pub(crate) slow: Option<PathBuf>,
}

impl Spec {
    /// Duration of a batch on a quiet device.
    pub(crate) fn batch(&self, tokens: usize) -> Duration {
        Duration::try_from_secs_f64((self.a_ms * 1e3 + self.b_us * tokens as f64) / 1e6).unwrap_or_default()
    }
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut spec = Spec::default();
        let (mut a, mut b) = (None, None);
        for pair in text.split(',') {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not key=value"))?;
            let number = |most: f64| match value.parse::<f64>() {
                Ok(n) if (0.0..=most).contains(&n) => Ok(n),
                _ => Err(format!("{key}={value} is not a number within 0 to {most}")),
            };
            match key {
                "a_ms" if a.is_none() => a = Some(number(MOST_MS)?),
                "b_us" if b.is_none() => b = Some(number(MOST_MS)?),
                "noise" => spec.noise = number(MOST_NOISE)?,
                "seed" => spec.seed = value.parse().map_err(|_| format!("seed={value} is not a whole number"))?,
                "slow" => spec.slow = Some(value.into()),
                "a_ms" | "b_us" => return Err(format!("{key} must be given once")),
                _ => return Err(format!("{key} is not one of a_ms, b_us, noise, seed, slow")),
            }
        }
        (spec.a_ms, spec.b_us) = a.zip(b).ok_or("a_ms and b_us must be given, once each")?;
        Ok(spec)
    }
}

/// What tells one timed model from another: it stands for the digest of a model's files. Servers of different speed
/// give the same scores, so their cost is no part of it.
impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_costs_what_the_name_says() {
        let spec: Spec = "a_ms=1,b_us=0.46,noise=0.08,seed=7,slow=/x/y".parse().unwrap();
        assert_eq!(spec.batch(0), Duration::from_millis(1));
        assert_eq!(spec.batch(10_000), Duration::from_micros(5_600));
        assert_eq!((spec.noise, spec.seed, spec.slow), (0.08, 7, Some("/x/y".into())));
    }

    #[test]
    fn slips_are_named() {
        for (text, word) in [
            ("", "key=value"),
            ("a_ms=1", "b_us"),
            ("a_ms=1,a_ms=2", "once"),
            ("a_ms=-1,b_us=1", "a_ms=-1"),
            ("a_ms=NaN,b_us=1", "a_ms=NaN"),
            ("a_ms=1,b_us=1,noise=2", "noise=2"),
            ("a_ms=1,b_us=1,seed=x", "seed=x"),
            ("a_ms=1,b_us=1,c=1", "c is not one"),
        ] {
            let error = text.parse::<Spec>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
