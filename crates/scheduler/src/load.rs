//! The load as others see it, worked out from one [`DeviceGauge`] a device.
//!
//! Tokens are of [work](sortie_work::WorkCurve) here, but for the size of a batch.
//!
//! The wait of a request that arrives now is what is left of the running batch
//! plus the queue at the fitted cost: `rest + a·⌈q/max⌉ + b·q`. A batch past its
//! prediction is expected to take as long again as it is late. Several devices
//! fill up like vessels: the wait is the `t` with `Σ rate·max(0, t − rest) = q`.
//! Busy is the share of time a batch ran, averaged with weight `e^(−age / 1 s)`; served is the tokens a second that
//! ran, averaged with `e^(−age / 5 s)`, a batch's tokens spread over the time it took.
//!
//! While a device rests its cost fades to the one it has been known to do with,
//! `cost · best_recent_ratio^(1 − e^(−rest / 5 s))`: callers keep away from a slow one, and nothing else would ever
//! tell them that it is well again.
//!
//! Invariant: pure arithmetic, no clock and no lock; every figure is finite.

use std::time::Duration;

use sortie_work::Cost;

use crate::core::{At, STALE};

/// Time constant of the busy share.
const BUSY_SECONDS: f64 = 1.0;

/// Time constant of what was served. Most reports leave as a batch ends: over a time shorter than a job they would all
/// tell of a full device, clients would send jobs whole, which lengthens them, and see it confirmed. (Simulated, jobs
/// of 2.6 s on one of 12 servers, load 0.43: p50 2.7 s with one second, 0.3 s with five.)
const SERVED_SECONDS: f64 = 5.0;

/// The load of one scheduler at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadSnapshot {
    /// Grows when the scheduler is started anew, in this process or a later one.
    pub epoch: u64,
    /// Tokens of work admitted and not yet running: reserved, waiting or in a prepared batch.
    pub queued_tokens: u64,
    /// Tokens of work in the batches that run.
    pub running_tokens: u64,
    /// Tokens of the largest batch; less than configured after a device ran out of memory.
    pub max_batch_tokens: u32,
    /// Devices that take work.
    pub devices: u32,
    /// Fixed cost of a batch in milliseconds: T = a + b * tokens; the devices' mean.
    pub a_ms: f32,
    /// Cost of one token in microseconds; the devices' mean.
    pub b_us: f32,
    /// Tokens past which a larger batch is hardly faster per token.
    pub knee_tokens: u32,
    /// Tokens per second that full batches give at the fitted cost, all devices together.
    pub rate_tokens_per_second: f32,
    /// Milliseconds until a request that arrives now would start.
    pub queue_wait_ms: f32,
    /// Share of the last second a batch was running, 0 to 1; the devices' mean.
    pub busy: f32,
    /// Tokens per second that ran, the average of the last five seconds, all devices together.
    pub served_tokens_per_second: f32,
    /// Age of a running batch over its predicted duration, the largest of any device; above 1 it is overdue.
    pub overdue: f32,
}

/// A batch on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunningBatch {
    pub(crate) work: u64,
    pub(crate) started: At,
    pub(crate) predicted: Duration,
}

impl RunningBatch {
    /// Work a second that it gives if it ends as predicted, or now.
    pub(crate) fn work_per_second(self, now: At) -> f64 {
        self.work as f64 / self.predicted.max(now.saturating_sub(self.started)).as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// What one device has been doing, on average.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Utilization {
    /// Share of the time that a batch ran.
    pub(crate) share: f64,
    /// Tokens a second that ran.
    pub(crate) tokens_per_second: f64,
    pub(crate) at: At,
}

impl Utilization {
    /// Brings it up to `now`, over a time in which a batch did or did not run, at so many tokens a second.
    #[must_use]
    pub(crate) fn by(self, now: At, running: Option<f64>) -> Self {
        let elapsed = now.saturating_sub(self.at).as_secs_f64();
        let blend = |before: f64, present: f64, over: f64| present + (before - present) * (-elapsed / over).exp();
        let share = if running.is_some() { 1.0 } else { 0.0 };
        Self {
            share: blend(self.share, share, BUSY_SECONDS),
            tokens_per_second: blend(self.tokens_per_second, running.unwrap_or(0.0), SERVED_SECONDS),
            at: now,
        }
    }
}

/// What is known of one device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DeviceGauge {
    pub(crate) alive: bool,
    pub(crate) budget: usize,
    pub(crate) knee: u32,
    pub(crate) cost: Cost,
    /// The cost it has been known to do with, as a share of `cost`.
    pub(crate) best_recent_ratio: f64,
    /// When a batch last ended.
    pub(crate) ended: At,
    pub(crate) measured: bool,
    pub(crate) running: Option<RunningBatch>,
    pub(crate) busy: Utilization,
}

impl DeviceGauge {
    /// Seconds until its running batch ends.
    fn rest(&self, now: At) -> f64 {
        let rest = |batch: RunningBatch| batch.predicted.abs_diff(now.saturating_sub(batch.started));
        self.running.map_or(0.0, |batch| rest(batch).as_secs_f64())
    }

    /// What a batch is expected to cost that starts at `now`.
    pub(crate) fn cost(&self, now: At) -> Cost {
        if self.running.is_some() || self.best_recent_ratio >= 1.0 {
            return self.cost;
        }
        let rest = now.saturating_sub(self.ended).as_secs_f64() / STALE.as_secs_f64();
        let share = self.best_recent_ratio.powf(1.0 - (-rest).exp());
        self.cost.times(share)
    }

    /// What it has been doing until `now`.
    fn busy_by(&self, now: At) -> Utilization {
        self.busy.by(now, self.running.map(|batch| batch.work_per_second(now)))
    }

    fn overdue(&self, now: At) -> f64 {
        let age = |batch: RunningBatch| now.saturating_sub(batch.started).as_secs_f64() / batch.predicted.as_secs_f64();
        self.running.map_or(0.0, age)
    }
}

/// Seconds until so much work is through, over all devices. Zero if none is alive.
pub(crate) fn wait_seconds(now: At, work: u64, gauges: impl Iterator<Item = DeviceGauge>) -> f64 {
    let mut alive: Vec<DeviceGauge> = gauges.filter(|gauge| gauge.alive).collect();
    if let [only] = alive.as_slice() {
        return only.rest(now) + only.cost(now).queue_seconds(work, only.budget);
    }
    alive.sort_by(|x, y| x.rest(now).total_cmp(&y.rest(now)));
    let (mut rate, mut level, mut left) = (0.0, 0.0, work as f64);
    for gauge in &alive {
        let rest = gauge.rest(now);
        // What those that are free earlier do until this one is.
        let done = rate * (rest - level);
        if done >= left && rate > 0.0 {
            break;
        }
        left -= done;
        level = rest;
        rate += gauge.cost(now).rate(gauge.budget);
    }
    if rate > 0.0 { level + left / rate } else { 0.0 }
}

/// What others are told.
pub(crate) fn snapshot(
    epoch: u64,
    now: At,
    queued: u64,
    gauges: impl Iterator<Item = DeviceGauge> + Clone,
) -> LoadSnapshot {
    let alive: Vec<DeviceGauge> = gauges.clone().filter(|gauge| gauge.alive).collect();
    let mean = |f: &dyn Fn(&DeviceGauge) -> f64| alive.iter().map(f).sum::<f64>() / alive.len().max(1) as f64;
    LoadSnapshot {
        epoch,
        queued_tokens: queued,
        running_tokens: alive.iter().filter_map(|gauge| gauge.running).map(|batch| batch.work).sum(),
        max_batch_tokens: alive.iter().map(|g| u32::try_from(g.budget).unwrap_or(u32::MAX)).max().unwrap_or(0),
        devices: u32::try_from(alive.len()).unwrap_or(u32::MAX),
        a_ms: (mean(&|gauge| gauge.cost(now).a_us) / 1e3) as f32,
        b_us: mean(&|gauge| gauge.cost(now).b_us) as f32,
        knee_tokens: mean(&|gauge| f64::from(gauge.knee)) as u32,
        rate_tokens_per_second: alive.iter().map(|gauge| gauge.cost(now).rate(gauge.budget)).sum::<f64>() as f32,
        queue_wait_ms: (wait_seconds(now, queued, gauges) * 1e3) as f32,
        busy: mean(&|gauge| gauge.busy_by(now).share).clamp(0.0, 1.0) as f32,
        served_tokens_per_second: alive.iter().map(|gauge| gauge.busy_by(now).tokens_per_second).sum::<f64>().max(0.0)
            as f32,
        overdue: alive.iter().map(|gauge| gauge.overdue(now)).fold(0.0, f64::max) as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn gauge(running: Option<RunningBatch>) -> DeviceGauge {
        let cost = Cost { a_us: 10_000.0, b_us: 1_000.0 };
        let (best_recent_ratio, ended, busy) = (1.0, Duration::ZERO, Utilization::default());
        DeviceGauge {
            alive: true,
            budget: 100,
            knee: 40,
            cost,
            best_recent_ratio,
            ended,
            measured: true,
            running,
            busy,
        }
    }

    #[test]
    fn busy_follows_the_last_second_and_served_the_last_five() {
        let busy = Utilization::default().by(25 * SECOND, Some(200.0));
        assert!(busy.share > 0.99 && busy.tokens_per_second > 198.0);
        let later = busy.by(26 * SECOND, None);
        assert!((0.36..0.38).contains(&later.share), "{later:?}");
        let later = busy.by(30 * SECOND, None);
        assert!((72.0..76.0).contains(&later.tokens_per_second), "{later:?}");
        assert!(busy.by(35 * SECOND, None).share < 0.001);
    }

    /// Half the time at work on 90 tokens a tenth of a second: 450 a second, whenever it is looked at.
    #[test]
    fn served_is_what_ran_and_not_when_it_ended() {
        let (mut busy, batch) = (Utilization::default(), SECOND / 10);
        for i in 0..200 {
            let started = 2 * i * batch;
            let running = RunningBatch { work: 90, started, predicted: batch };
            busy = busy.by(started, None);
            let mid = DeviceGauge { busy, ..gauge(Some(running)) };
            let seen = snapshot(0, started + batch / 2, 0, [mid].into_iter()).served_tokens_per_second;
            assert!(i < 140 || (425.0..475.0).contains(&seen), "{seen}");
            busy = busy.by(started + batch, Some(running.work_per_second(started + batch)));
        }
        // A batch that hangs serves nothing more.
        let hung = RunningBatch { work: 90, started: 40 * SECOND, predicted: batch };
        let hung = DeviceGauge { busy: busy.by(40 * SECOND, None), ..gauge(Some(hung)) };
        assert!(snapshot(0, 70 * SECOND, 0, [hung].into_iter()).served_tokens_per_second < 10.0);
    }

    #[test]
    fn a_resting_device_fades_to_what_it_has_been_known_to_do() {
        let slow = DeviceGauge { best_recent_ratio: 0.25, ended: 100 * SECOND, ..gauge(None) };
        let b_us = |gauge: DeviceGauge, at: u32| snapshot(0, at * SECOND, 0, [gauge].into_iter()).b_us;
        assert!((b_us(slow, 100) - 1000.0).abs() < 0.1);
        let after = b_us(slow, 105);
        assert!((405.0..430.0).contains(&after), "{after}");
        assert!((250.0..260.0).contains(&b_us(slow, 130)));
        // What runs is as slow as it was seen to be.
        let running = RunningBatch { work: 90, started: 129 * SECOND, predicted: SECOND };
        assert!((b_us(DeviceGauge { running: Some(running), ..slow }, 130) - 1000.0).abs() < 0.1);
        assert!((b_us(gauge(None), 1_000) - 1000.0).abs() < 0.1);
    }

    #[test]
    fn wait_is_rest_of_the_batch_and_the_queue() {
        let idle = wait_seconds(Duration::ZERO, 250, [gauge(None)].into_iter());
        assert!((idle - (3.0 * 0.010 + 0.250)).abs() < 1e-9);
        let running = RunningBatch { work: 90, started: Duration::ZERO, predicted: SECOND / 10 };
        let at = |ms: u64| snapshot(7, Duration::from_millis(ms), 250, [gauge(Some(running))].into_iter());
        assert!((at(40).queue_wait_ms - (60.0 + 280.0)).abs() < 0.01);
        assert!((at(50).overdue - 0.5).abs() < 1e-3);
        // Late by 50 ms: expect 50 ms more.
        assert!((at(150).queue_wait_ms - (50.0 + 280.0)).abs() < 0.01);
        assert!(at(150).overdue > 1.4);
        assert_eq!((at(0).epoch, at(0).running_tokens, at(0).queued_tokens), (7, 90, 250));
    }

    #[test]
    fn several_devices_fill_like_vessels() {
        let running = RunningBatch { work: 90, started: Duration::ZERO, predicted: SECOND / 10 };
        let both = [gauge(None), gauge(Some(running))];
        let rate = 100.0 / 0.110;
        // The idle one has done 90 tokens when the other joins it.
        let wait = wait_seconds(Duration::ZERO, 250, both.into_iter());
        assert!((wait - (0.1 + (250.0 - 0.1 * rate) / (2.0 * rate))).abs() < 1e-9, "{wait}");
        // Too little to wait for the second.
        let wait = wait_seconds(Duration::ZERO, 50, both.into_iter());
        assert!((wait - 50.0 / rate).abs() < 1e-9, "{wait}");
        let none = [DeviceGauge { alive: false, ..gauge(None) }];
        assert_eq!(wait_seconds(Duration::ZERO, 50, none.into_iter()), 0.0);
    }
}
