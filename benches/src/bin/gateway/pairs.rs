//! Rounds in which every way has the same job, one after another, and what they took.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use sortie_benches::report::cell;
use sortie_lab::stats::quantile;
use xtask::interrupt;

use crate::{
    texts::JobShape,
    ways::{RerankWay, WayAnswer, WayCallers},
};

/// Between two jobs: what a hedge left running on a server ends.
const SETTLE: Duration = Duration::from_millis(25);

/// Jobs below which a p99.9 is the slowest of them.
const ENOUGH: usize = 1_000;

/// Most that the gateway may add at p50, milliseconds.
const MORE_AT_P50: f64 = 1.5;

/// What its p99 may be: so many times the client's …
const P99_FACTOR: f64 = 1.15;

/// … and so many milliseconds.
const P99_MORE: f64 = 2.0;

/// What came of all rounds.
#[derive(Debug)]
pub(super) struct PairedRounds {
    ways: Vec<WayTimes>,
}

/// Milliseconds of a way's jobs, NaN for one that failed, in the order of rounds.
#[derive(Debug)]
struct WayTimes {
    way: RerankWay,
    ms: Vec<f64>,
    /// What of them the caller spent on its own JSON.
    own_json: Vec<f64>,
    failure: Option<String>,
}

impl PairedRounds {
    /// Runs rounds for `warm_up`, which do not count, and then for `counted`. Jobs are numbered from `first` on.
    pub(super) async fn run(
        callers: &mut WayCallers,
        shape: JobShape,
        first: u64,
        (warm_up, counted): (Duration, Duration),
    ) -> anyhow::Result<Self> {
        let ways = RerankWay::ALL.into_iter().filter(|way| callers.has(*way));
        let mut ways: Vec<_> =
            ways.map(|way| WayTimes { way, ms: Vec::new(), own_json: Vec::new(), failure: None }).collect();
        let mut order: Vec<usize> = (0..ways.len()).collect();
        let mut random = StdRng::seed_from_u64(first);
        let started = Instant::now();
        let mut counts = false;
        for n in first.. {
            interrupt::check()?;
            if !counts && started.elapsed() >= warm_up {
                for way in &mut ways {
                    way.ms.clear();
                    way.own_json.clear();
                }
                counts = true;
            }
            if started.elapsed() >= warm_up + counted {
                break;
            }
            let job = shape.job(n);
            order.shuffle(&mut random);
            let mut scores: Option<Vec<f32>> = None;
            for &at in &order {
                tokio::time::sleep(SETTLE).await;
                let WayTimes { way, ms, own_json, failure } = ways.get_mut(at).context("a way that is not there")?;
                match callers.run(*way, &job).await {
                    Err(error) => {
                        ms.push(f64::NAN);
                        failure.get_or_insert_with(|| format!("{error:#}"));
                    }
                    Ok(WayAnswer { scores: found, took, own_json: own }) => {
                        ms.push(took.as_secs_f64() * 1e3);
                        own_json.push(own.as_secs_f64() * 1e3);
                        // Whoever is first says what all must.
                        let wanted = scores.get_or_insert_with(|| found.clone());
                        if *wanted != found {
                            bail!("{way} has other scores than the way before it");
                        }
                    }
                }
            }
        }
        Ok(Self { ways })
    }

    /// Lines of the table.
    pub(super) fn lines(&self, setting: &str) -> String {
        let line = |times: &WayTimes| {
            let ms = times.answered();
            let last = if ms.len() < ENOUGH { f64::NAN } else { quantile(&ms, 0.999) };
            format!(
                "| {setting} | {} | {} | {} | {} | {} | {} |\n",
                times.way,
                ms.len(),
                times.ms.len() - ms.len(),
                cell(quantile(&ms, 0.5), 1),
                cell(quantile(&ms, 0.99), 1),
                cell(last, 1)
            )
        };
        self.ways.iter().map(line).collect()
    }

    /// What failed first of each way.
    pub(super) fn failures(&self) -> String {
        let failed = |times: &WayTimes| Some(format!("{}: {}\n", times.way, times.failure.as_ref()?));
        self.ways.iter().filter_map(failed).collect()
    }

    /// What the gateway adds, against what it may.
    pub(super) fn verdict(&self, setting: &str) -> String {
        let of = |way| self.ways.iter().find(|times| times.way == way);
        let Some((client, gateway)) = of(RerankWay::Client).zip(of(RerankWay::Gateway)) else { return String::new() };
        let (theirs, ours) = (client.answered(), gateway.answered());
        let more: Vec<f64> = client
            .ms
            .iter()
            .zip(&gateway.ms)
            .map(|(client, gateway)| gateway - client)
            .filter(|m| m.is_finite())
            .collect();
        let (p50, p99) = (quantile(&ours, 0.5) - quantile(&theirs, 0.5), quantile(&ours, 0.99));
        let most = quantile(&theirs, 0.99) * P99_FACTOR + P99_MORE;
        let failed = client.ms.len() - theirs.len() + gateway.ms.len() - ours.len();
        let held = |is: bool| if is { "held" } else { "MISSED" };
        format!(
            "- {setting}: the gateway adds {} ms at p50 (half of the rounds {} ms or less; {} ms are the caller's own JSON); \
             at most {MORE_AT_P50}: {}\n\
             - {setting}: its p99 is {} ms; at most {P99_FACTOR} times the client's and {P99_MORE} ms, {} ms: {}\n\
             - {setting}: {failed} jobs of both failed: {}\n",
            cell(p50, 2),
            cell(quantile(&more, 0.5), 2),
            cell(quantile(&gateway.own_json, 0.5), 2),
            held(p50 <= MORE_AT_P50),
            cell(p99, 1),
            cell(most, 1),
            held(p99 <= most),
            held(failed == 0),
        )
    }
}

impl WayTimes {
    fn answered(&self) -> Vec<f64> {
        self.ms.iter().copied().filter(|ms| ms.is_finite()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(client: &[f64], gateway: &[f64]) -> PairedRounds {
        let way = |way, ms: &[f64]| WayTimes { way, ms: ms.to_vec(), own_json: vec![0.5; ms.len()], failure: None };
        PairedRounds { ways: vec![way(RerankWay::Client, client), way(RerankWay::Gateway, gateway)] }
    }

    #[test]
    fn what_is_added_is_held_against_the_aims() {
        let good = rounds(&[30.0, 31.0, 40.0], &[31.0, 32.0, 47.0]);
        assert!(!good.verdict("x").contains("MISSED"), "{}", good.verdict("x"));
        let late = rounds(&[30.0, 31.0, 40.0], &[32.0, 33.0, 49.0]).verdict("x");
        assert_eq!(late.matches("MISSED").count(), 2, "{late}");
        let failed = rounds(&[30.0, 31.0, 40.0], &[31.0, f64::NAN, 32.0]);
        assert!(failed.verdict("x").contains("1 jobs of both failed: MISSED"));
        assert!(failed.lines("x").contains("| 2 | 1 | 31.0 | 32.0 | – |"), "{}", failed.lines("x"));
    }
}
