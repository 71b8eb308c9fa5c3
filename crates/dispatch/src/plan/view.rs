//! How many chunks a job may be cut into, before it is looked at which servers there are.
//!
//! Each cut costs a batch's fixed time and is another chance to meet a straggler, so:
//! at `ρ ≥ ρ*` none; on `N ≤ 4` servers at `ρ ≥ 0.8` half of them, rounded up; without
//! hedging half of them; until costs are known two. A chunk has at least
//! `contention · a/b` tokens, where contention is 1, or `ρ / (ρ* − ρ)` where servers do not merge what
//! waits. Where they do it goes from 1 at [`crate::config::PlanConfig::busy`] to that formula at ρ*, as
//! `formula^w`, `w = (ρ − busy) / (ρ* − busy)`: a step at `busy`, from 1 to 16, is a threshold about
//! which a constant load trembles, and the number of chunks with it.
//!
//! Contention follows by no more than 25% in 100 ms: all clients see the same load and must not all turn
//! at once.

use sortie_work::Lane;

use crate::{config::DispatchConfig, time::Time};

/// Contention does not follow changes smaller than this share.
const DEAD_BAND: f64 = 0.1;

/// Largest contention: close to ρ* the formula has no end, and beyond this jobs are whole anyway.
const MOST_CONTENTION: f64 = 100.0;

/// The fleet as a job about to be cut finds it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct FleetView {
    /// ρ.
    pub load: f64,
    /// Whether ρ is at its target, or was and has not yet fallen far enough below.
    pub high: bool,
    /// Servers that may get work.
    pub servers: usize,
    /// Least chunk over a/b tokens.
    pub contention: f64,
    /// Whether what batches cost is known.
    pub proven: bool,
    /// Whether late attempts may be hedged.
    pub hedging: bool,
    /// Whether the job stays whole.
    pub whole: bool,
    /// Which queue the job waits in.
    pub lane: Lane,
    /// Microseconds to its deadline.
    pub time_us: f64,
}

impl FleetView {
    /// An idle fleet of known costs.
    #[must_use]
    pub fn idle(servers: usize) -> Self {
        let lane = Lane::Interactive;
        Self {
            load: 0.0,
            high: false,
            servers,
            contention: 1.0,
            proven: true,
            hedging: true,
            whole: false,
            lane,
            time_us: f64::INFINITY,
        }
    }

    /// The same with hedging on or off.
    #[must_use]
    pub fn hedging(mut self, hedging: bool) -> Self {
        self.hedging = hedging;
        self
    }

    /// The same at another load.
    #[must_use]
    pub fn load(mut self, config: &DispatchConfig, load: f64) -> Self {
        (self.load, self.high) = (load, load >= config.load.target);
        self.contention = contention(config, load);
        self
    }

    /// Most chunks, and what they are limited by.
    pub(crate) fn cap(&self, config: &DispatchConfig) -> (usize, PlanReason) {
        let half = self.servers.div_ceil(2);
        let small = self.servers <= config.plan.small_fleet && self.load >= config.load.calm;
        let caps = [
            (self.whole, 1, PlanReason::Whole),
            (self.lane == Lane::Bulk, 1, PlanReason::Bulk),
            (self.high, 1, PlanReason::Loaded),
            (small, half, PlanReason::SmallAndLoaded),
            (!self.proven, 2, PlanReason::Unproven),
            (!self.hedging, self.servers / 2, PlanReason::Unhedged),
            (true, self.servers, PlanReason::Servers),
            (true, config.plan.max_chunks, PlanReason::Limit),
        ];
        let held = caps.into_iter().filter(|&(holds, ..)| holds).map(|(_, cap, reason)| (cap.max(1), reason));
        held.min_by_key(|&(cap, _)| cap).unwrap_or((1, PlanReason::Servers))
    }
}

/// Why a job was cut into so many chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PlanReason {
    /// That many end soonest.
    #[default]
    Soonest,
    /// Cutting would not shorten it enough.
    NoGain,
    /// Not all of more chunks would be in time: their servers would work for nobody.
    NoTime,
    /// More would be mostly overhead.
    Overhead,
    /// The fleet is at its target load.
    Loaded,
    /// A small fleet is close to it.
    SmallAndLoaded,
    /// Hedging is off: each chunk is a chance to meet a straggler.
    Unhedged,
    /// What batches cost is not known yet.
    Unproven,
    /// Nobody is waiting for it.
    Bulk,
    /// There are no more servers.
    Servers,
    /// [`crate::config::PlanConfig::max_chunks`].
    Limit,
    /// It is to stay whole: a gateway will cut it, or its answer must be one.
    Whole,
    /// Limits of messages, items and queues force more.
    Forced,
}

impl PlanReason {
    /// A stable word for traces and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Soonest => "soonest",
            Self::NoGain => "no_gain",
            Self::NoTime => "no_time",
            Self::Overhead => "overhead",
            Self::Loaded => "loaded",
            Self::SmallAndLoaded => "small_and_loaded",
            Self::Unhedged => "unhedged",
            Self::Unproven => "unproven",
            Self::Bulk => "bulk",
            Self::Servers => "servers",
            Self::Limit => "limit",
            Self::Whole => "whole",
            Self::Forced => "forced",
        }
    }
}

impl std::fmt::Display for PlanReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What contention would be at a load that lasts.
fn contention(config: &DispatchConfig, load: f64) -> f64 {
    let room = config.load.target - load;
    let formula = if room > 0.0 { load / room } else { MOST_CONTENTION };
    let way = config.load.target - config.plan.busy;
    let merged = if way > 0.0 { ((load - config.plan.busy) / way).clamp(0.0, 1.0) } else { 0.0 };
    let weight = if config.plan.servers_merge { merged } else { 1.0 };
    formula.clamp(1.0, MOST_CONTENTION).powf(weight)
}

/// Contention on its slow way to where the load says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contention {
    value: f64,
    at: Option<Time>,
}

impl Default for Contention {
    fn default() -> Self {
        Self { value: 1.0, at: None }
    }
}

impl Contention {
    pub(crate) fn follow(&mut self, config: &DispatchConfig, load: f64, now: Time) -> f64 {
        let target = contention(config, load);
        let steps = self.at.map_or(0.0, |at| (now - at).as_secs_f64() / config.plan.step_time.as_secs_f64());
        let most = config.plan.max_step.powf(steps);
        let ratio = target / self.value;
        let small = (ratio - 1.0).abs() < DEAD_BAND && target > 1.0;
        if !small {
            self.value = (self.value * ratio.clamp(1.0 / most, most)).clamp(1.0, MOST_CONTENTION);
        }
        self.at = Some(now);
        self.value
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_rule_caps_and_says_so() {
        let config = DispatchConfig::default();
        let cap = |view: FleetView| view.cap(&config);
        let eight = FleetView::idle(8);
        assert_eq!(cap(eight), (8, PlanReason::Servers));
        assert_eq!(cap(FleetView::idle(1_000)), (64, PlanReason::Limit));
        assert_eq!(cap(eight.load(&config, 0.85)), (1, PlanReason::Loaded));
        assert_eq!(cap(eight.load(&config, 0.82)).0, 8);
        assert_eq!(cap(FleetView::idle(3).load(&config, 0.82)), (2, PlanReason::SmallAndLoaded));
        assert_eq!(cap(eight.hedging(false)), (4, PlanReason::Unhedged));
        assert_eq!(cap(FleetView::idle(1).hedging(false)), (1, PlanReason::Unhedged));
        assert_eq!(cap(FleetView { proven: false, ..eight }), (2, PlanReason::Unproven));
        assert_eq!(cap(FleetView { lane: Lane::Bulk, ..eight }), (1, PlanReason::Bulk));
        assert_eq!(cap(FleetView { whole: true, ..eight }), (1, PlanReason::Whole));
    }

    #[test]
    fn crowding_is_one_while_servers_merge_and_the_formula_at_the_target() {
        let mut config = DispatchConfig::default();
        assert!((contention(&config, 0.80) - 1.0).abs() < 1e-9);
        assert!((contention(&config, 0.825) - (0.825f64 / 0.025).sqrt()).abs() < 1e-9);
        assert!((contention(&config, 0.849_999) - MOST_CONTENTION).abs() < 0.1);
        // No step anywhere: a load that trembles by 1% does not triple the least chunk below 0.82.
        for step in 0..82 {
            let load = f64::from(step) / 100.0;
            assert!(contention(&config, load + 0.01) / contention(&config, load) < 3.0, "{load}");
        }
        config.plan.servers_merge = false;
        assert!((contention(&config, 0.7) - 0.7 / 0.15).abs() < 1e-9);
        assert!((contention(&config, 0.3) - 1.0).abs() < 1e-12);
    }

    /// A load that trembles about a threshold must not throw the number of chunks about.
    #[test]
    fn crowding_moves_by_a_quarter_in_a_tenth_of_a_second() {
        let config = DispatchConfig::default();
        let at = |ms| Time::from_start(Duration::from_millis(ms));
        let mut contention = Contention::default();
        let mut before = contention.follow(&config, 0.3, at(0));
        for step in 1..200u64 {
            let load = if step % 2 == 0 { 0.83 } else { 0.78 };
            let value = contention.follow(&config, load, at(step * 10));
            assert!((value / before - 1.0).abs() <= 0.026, "{before} {value}");
            before = value;
        }
        let settled = (0..100u64).fold(0.0, |_, step| contention.follow(&config, 0.83, at(2_000 + step * 100)));
        assert!((settled / super::contention(&config, 0.83) - 1.0).abs() <= DEAD_BAND + 1e-9, "{settled}");
    }
}
