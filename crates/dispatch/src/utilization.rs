//! How loaded the fleet is: `ρ = served tokens/s ÷ rate`, the mean over its servers,
//! smoothed over [`LoadConfig::window`]. The rate is that of endless batches, `1 / b`.
//!
//! The busy share of a device is not ρ: it holds the overhead of batches, which grows when
//! jobs are cut smaller. A planner that follows it cuts less, sees less, cuts more, for
//! ever. Where a server does not say what it served, ρ is its busy share times the share of
//! a batch that is tokens, `b · tokens / T`, which is the same thing.
//!
//! Without any report of servers, ρ is what this client sends itself, a lower bound.
//!
//! Invariant: ρ does not depend on how jobs are cut.

use crate::{config::LoadConfig, time::Time};

/// Pauses between two looks at all servers: no server's report changes faster.
const REFRESH_SHARE: f64 = 0.05;

/// Share that one batch or report adds to a running mean.
const GAIN: f64 = 0.05;

/// A report of more than so many times the running mean, and [`EXTERNAL_LOAD_FLOOR_US`], counts as that.
const EXTERNAL_LOAD_STEP: f64 = 4.0;

/// See [`EXTERNAL_LOAD_STEP`].
const EXTERNAL_LOAD_FLOOR_US: f64 = 10_000.0;

/// The fleet's load as one client sees it.
#[derive(Clone, Debug)]
pub(crate) struct FleetLoad {
    rho: f64,
    high: bool,
    refreshed: Option<Time>,
    /// Own device time sent, in microseconds, faded over the window.
    own_us: f64,
    own_at: Time,
    /// Share of a batch that is tokens and not overhead.
    efficiency: f64,
    /// Other clients' work on a server, in microseconds, on average.
    external_load_us: f64,
}

impl Default for FleetLoad {
    fn default() -> Self {
        Self {
            rho: 0.0,
            high: false,
            refreshed: None,
            own_us: 0.0,
            own_at: Time::default(),
            efficiency: 0.8,
            external_load_us: 0.0,
        }
    }
}

impl FleetLoad {
    /// ρ, from 0.
    pub(crate) fn rho(&self) -> f64 {
        self.rho
    }

    /// Whether the fleet is at its target, from which jobs are sent whole.
    pub(crate) fn is_high(&self) -> bool {
        self.high
    }

    /// Other clients' work that is assumed on a server without a recent report, in microseconds.
    pub(crate) fn external_load_us(&self) -> f64 {
        self.external_load_us
    }

    /// Records the work of other clients that a server reported.
    pub(crate) fn record_external_load(&mut self, us: f64) {
        // One drowned server says little of the others.
        let us = us.min(EXTERNAL_LOAD_STEP * self.external_load_us + EXTERNAL_LOAD_FLOOR_US);
        self.external_load_us += GAIN * (us - self.external_load_us);
    }

    /// A server refused work for its queue: it is as loaded as it can be, whatever averages say yet.
    pub(crate) fn saturated(&mut self, config: &LoadConfig) {
        self.rho = self.rho.max(config.target);
        self.high = true;
    }

    /// Records a batch; `token_share` is the share of its time that its tokens took, the rest being its fixed cost.
    pub(crate) fn record_batch(&mut self, token_share: f64) {
        self.efficiency += GAIN * (token_share.clamp(0.0, 1.0) - self.efficiency);
    }

    /// Utilization ρ of one server as it reports it: tokens served over tokens possible, or, where it does not report
    /// these, its busy share times the share of a batch's time that is tokens.
    pub(crate) fn reported_utilization(
        &self,
        served_tokens_per_second: f64,
        most_tokens_per_second: f64,
        busy: f64,
    ) -> f64 {
        let rho = if served_tokens_per_second > 0.0 && most_tokens_per_second > 0.0 {
            served_tokens_per_second / most_tokens_per_second
        } else {
            busy * self.efficiency
        };
        if rho.is_finite() { rho.clamp(0.0, 2.0) } else { 0.0 }
    }

    /// This client sends work of so much device time.
    pub(crate) fn sent(&mut self, config: &LoadConfig, us: f64, now: Time) {
        self.own_us = self.own_us * fading(config, now - self.own_at) + us;
        self.own_at = now;
    }

    /// Whether it is time to look at all servers.
    pub(crate) fn is_stale(&self, config: &LoadConfig, now: Time) -> bool {
        self.refreshed.is_none_or(|at| now - at >= config.window.mul_f64(REFRESH_SHARE))
    }

    /// Averages ρ over the servers' reports that are recent enough.
    pub(crate) fn refresh(
        &mut self,
        config: &LoadConfig,
        reported: impl Iterator<Item = f64>,
        servers: usize,
        now: Time,
    ) {
        let (count, sum) =
            reported.fold((0u32, 0.0), |(count, sum), reported_utilization| (count + 1, sum + reported_utilization));
        let said = if count == 0 { 0.0 } else { sum / f64::from(count) };
        let own = self.own_us * fading(config, now - self.own_at) / (config.window.as_secs_f64() * 1e6);
        let target = said.max(own / servers.max(1) as f64);
        let keep = self.refreshed.map_or(0.0, |at| fading(config, now - at));
        self.rho = target + keep * (self.rho - target);
        self.refreshed = Some(now);
        self.high = self.rho >= if self.high { config.calm } else { config.target };
    }
}

fn fading(config: &LoadConfig, elapsed: std::time::Duration) -> f64 {
    (-elapsed.as_secs_f64() / config.window.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_start(Duration::from_millis(ms))
    }

    #[test]
    fn served_tokens_count_and_the_busy_share_only_after_its_overhead() {
        let mut load = FleetLoad::default();
        assert!((load.reported_utilization(70_000.0, 100_000.0, 0.95) - 0.7).abs() < 1e-9);
        for _ in 0..200 {
            load.record_batch(0.75);
        }
        assert!((load.reported_utilization(0.0, 0.0, 0.92) - 0.69).abs() < 0.01);
        assert!(load.reported_utilization(f64::NAN, 1.0, f64::NAN) <= 0.0);
    }

    #[test]
    fn without_a_word_own_work_is_the_load() {
        let config = LoadConfig::default();
        let mut load = FleetLoad::default();
        for ms in 0..4_000 {
            // Half a millisecond of work each millisecond, for one server.
            load.sent(&config, 500.0, at(ms));
            load.refresh(&config, std::iter::empty(), 1, at(ms));
        }
        assert!((0.44..0.56).contains(&load.rho()), "{}", load.rho());
    }

    #[test]
    fn a_refusal_is_a_high_load_until_averages_say_otherwise() {
        let config = LoadConfig::default();
        let mut load = FleetLoad::default();
        load.refresh(&config, [0.3].into_iter(), 1, at(0));
        load.saturated(&config);
        assert!(load.is_high() && load.rho() >= config.target);
        for ms in (100..20_000).step_by(100) {
            load.refresh(&config, [0.3].into_iter(), 1, at(ms));
        }
        assert!(!load.is_high() && load.rho() < 0.4, "{}", load.rho());
    }

    #[test]
    fn high_is_left_later_than_it_is_reached() {
        let config = LoadConfig::default();
        let mut load = FleetLoad::default();
        let mut now = 0;
        let mut see = |load: &mut FleetLoad, rho: f64| {
            (0..100).for_each(|_| {
                now += 100;
                load.refresh(&config, [rho].into_iter(), 1, at(now));
            });
            load.is_high()
        };
        assert!(!see(&mut load, 0.83));
        assert!(see(&mut load, 0.86));
        assert!(see(&mut load, 0.83));
        assert!(!see(&mut load, 0.78));
    }
}
