//! When jobs come: one by one or in bursts without memory, as a trace says, or as soon as a caller is free.

use std::{fs, path::Path, str::FromStr, sync::Arc, time::Duration};

use rand::Rng;
use serde::Deserialize;

use super::target::BenchError;
use crate::arrivals::exponential;

/// Most jobs that may come at one moment.
const LARGEST_BURST: u32 = 100_000;

/// How arrivals by chance are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivalBursts(pub u32);

impl FromStr for ArrivalBursts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("burst:").map(str::parse::<u32>) {
            None if text == "poisson" => Ok(Self(1)),
            Some(Ok(jobs)) if (2..=LARGEST_BURST).contains(&jobs) => Ok(Self(jobs)),
            _ => Err(format!("is not poisson, nor burst:N with N from 2 to {LARGEST_BURST}")),
        }
    }
}

/// The moments of jobs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ArrivalTimes {
    /// So many jobs a second in bursts of so many, with exponential gaps between bursts: one by one a Poisson process.
    Bursts { rate: f64, size: u32 },
    /// At these moments.
    Trace(Arc<[Duration]>),
    /// Whenever a caller is free: a closed loop, whose jobs have no moments of their own.
    AtOnce,
}

impl ArrivalTimes {
    /// Reads a trace, one JSON value a line: a number of milliseconds, or an object with `at_ms`, as `--log` writes them.
    /// With a rate its moments are stretched until they have it.
    pub(crate) fn read(path: &Path, rate: Option<f64>) -> Result<Self, BenchError> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum TraceLine {
            Number(f64),
            Object { at_ms: f64 },
        }
        let wrong = |what: String| BenchError::file("--trace", path, what);
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let mut moments = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let bad = || wrong(format!("line {}: is neither milliseconds nor an object with at_ms", number + 1));
            let (TraceLine::Number(ms) | TraceLine::Object { at_ms: ms }) =
                serde_json::from_str(line).map_err(|_| bad())?;
            moments.push(Duration::try_from_secs_f64(ms / 1e3).map_err(|_| bad())?);
        }
        moments.sort_unstable();
        let Some(last) = moments.last().copied().filter(|last| !last.is_zero()) else {
            return Err(wrong("there is no moment after its start in it".to_owned()));
        };
        if let Some(rate) = rate {
            let stretch = moments.len() as f64 / rate / last.as_secs_f64();
            moments.iter_mut().for_each(|at| *at = at.mul_f64(stretch));
        }
        Ok(Self::Trace(moments.into()))
    }

    /// Jobs a second; no number where that depends on the servers.
    pub(crate) fn rate(&self) -> f64 {
        match self {
            Self::Bursts { rate, .. } => *rate,
            Self::Trace(moments) => moments.len() as f64 / moments.last().map_or(f64::NAN, Duration::as_secs_f64),
            Self::AtOnce => f64::NAN,
        }
    }

    /// The moment of job number `count`, from 0, the one before it having come at `last`.
    pub(crate) fn next(&self, count: usize, last: Duration, rng: &mut impl Rng) -> Option<Duration> {
        match self {
            Self::Bursts { rate, size } => {
                if !count.is_multiple_of(*size as usize) {
                    return Some(last);
                }
                let mean = Duration::try_from_secs_f64(f64::from(*size) / rate).ok()?;
                last.checked_add(exponential(mean, rng))
            }
            Self::Trace(moments) => moments.get(count).copied(),
            Self::AtOnce => Some(Duration::ZERO),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    fn moments(times: &ArrivalTimes, count: usize) -> Vec<Duration> {
        let (mut rng, mut last) = (StdRng::seed_from_u64(7), Duration::ZERO);
        (0..count).map_while(|n| times.next(n, last, &mut rng).inspect(|at| last = *at)).collect()
    }

    #[test]
    fn bursts_come_together_and_keep_the_rate() {
        assert_eq!(("poisson".parse(), "burst:9".parse()), (Ok(ArrivalBursts(1)), Ok(ArrivalBursts(9))));
        assert!(
            ["", "burst", "burst:1", "burst:x", "uniform"].iter().all(|text| text.parse::<ArrivalBursts>().is_err())
        );
        let all = moments(&ArrivalTimes::Bursts { rate: 50.0, size: 10 }, 20_000);
        assert!(all.chunks(10).all(|burst| burst.first() == burst.last()));
        assert!((all.last().unwrap().as_secs_f64() / 400.0 - 1.0).abs() < 0.06, "{:?}", all.last());
    }

    #[test]
    fn a_trace_is_played_again_and_stretched() {
        let read = |text: &str, rate| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            ArrivalTimes::read(file.path(), rate)
        };
        let ms = Duration::from_millis;
        let trace = read("{\"at_ms\": 400, \"outcome\": \"OK\"}\n\n100\n", None).unwrap();
        assert_eq!((moments(&trace, 9), trace.rate()), (vec![ms(100), ms(400)], 5.0));
        let slower = read("100\n400\n", Some(1.0)).unwrap();
        assert_eq!(moments(&slower, 9), [ms(500), ms(2_000)]);
        for wrong in ["", "0\n", "-5\n", "\"soon\"\n", "{}\n"] {
            assert!(read(wrong, None).is_err(), "{wrong:?}");
        }
    }
}
