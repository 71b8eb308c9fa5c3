//! The device: one batch at a time, each as long as its cost.
//!
//! The thread sleeps until the batch's end rather than for its length, and what it overslept is taken off the next
//! batch, so that the time between batches, not the system's timer, is what the scheduler adds. A debt above
//! [`MOST_DEBT`] is forgiven: a process that was stopped must not catch up.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{spec::Spec, tokens::score};
use crate::item::{ItemFault, Output, Want, WorkItem};

/// Oversleeping that is still the timer's and the run queue's: a few slices of the system's scheduler.
const MOST_DEBT: Duration = Duration::from_millis(5);

/// The owner of the one device.
#[derive(Debug)]
pub(crate) struct TimedExecutor {
    spec: Spec,
    noise: Noise,
    debt: Duration,
}

impl TimedExecutor {
    /// Makes the device; call it on its thread, whose timer it sharpens.
    pub(crate) fn new(spec: &Spec) -> Self {
        sharpen();
        Self { spec: spec.clone(), noise: Noise { state: spec.seed, sigma: spec.noise }, debt: Duration::ZERO }
    }

    /// Runs one batch.
    pub(crate) fn run(&mut self, items: &[&WorkItem]) -> Vec<Result<Output, ItemFault>> {
        let begun = Instant::now();
        let tokens = items.iter().map(|item| item.sequence.len()).sum();
        let factor = self.slowed() * self.noise.next();
        let length = self.spec.batch(tokens).mul_f64(factor).saturating_sub(self.debt);
        let outputs = items.iter().map(|item| answer(item)).collect();
        std::thread::sleep(length.saturating_sub(begun.elapsed()));
        let over = begun.elapsed().saturating_sub(length);
        self.debt = if over > MOST_DEBT { Duration::ZERO } else { over };
        outputs
    }

    /// The factor that the file holds now.
    fn slowed(&self) -> f64 {
        let text = self.spec.slow.as_ref().and_then(|path| fs::read_to_string(path).ok());
        let factor = text.and_then(|text| text.trim().parse::<f64>().ok());
        factor.filter(|f| f.is_finite() && *f > 0.0).unwrap_or(1.0)
    }
}

fn answer(item: &WorkItem) -> Result<Output, ItemFault> {
    match item.want {
        Want::Logits => Ok(Output::Logits(vec![score(&item.sequence.ids)])),
        other => Err(ItemFault::WrongWant(other.name())),
    }
}

/// The system may round a thread's timers up by 50 µs unless asked not to; elsewhere than on Linux it is what it is.
fn sharpen() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        tracing::warn!(%error, "timers stay coarse");
    }
}

/// Log-normal noise of mean 1 from a seed (splitmix64, Box and Muller).
#[derive(Debug)]
struct Noise {
    state: u64,
    sigma: f64,
}

impl Noise {
    fn next(&mut self) -> f64 {
        if self.sigma <= 0.0 {
            return 1.0;
        }
        // 1 - u is above zero, so its logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.uniform()).cos();
        (self.sigma * normal - self.sigma * self.sigma / 2.0).exp()
    }

    /// 0 to 1, 1 excluded.
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Sequence;

    fn item(ids: Vec<u32>) -> WorkItem {
        WorkItem { sequence: Sequence { ids, ..Sequence::default() }, want: Want::Logits }
    }

    #[test]
    fn a_batch_takes_no_less_than_its_cost_and_mates_do_not_matter() {
        let mut device = TimedExecutor::new(&"a_ms=2,b_us=10".parse().unwrap());
        let (one, two) = (item(vec![1; 100]), item(vec![2; 200]));
        let begun = Instant::now();
        let both = device.run(&[&one, &two]);
        assert!(begun.elapsed() >= Duration::from_millis(5), "{:?}", begun.elapsed());
        assert_eq!(both, [device.run(&[&one]), device.run(&[&two])].concat());
    }

    #[test]
    fn noise_has_the_mean_and_the_width_it_should() {
        let mut noise = Noise { state: 7, sigma: 0.25 };
        let all: Vec<f64> = (0..20_000).map(|_| noise.next()).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let deviation = (all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64).sqrt();
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        assert!((deviation - 0.254).abs() < 0.01, "{deviation}");
    }

    #[test]
    fn a_file_slows_the_device() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut spec: Spec = "a_ms=1,b_us=1".parse().unwrap();
        spec.slow = Some(file.path().to_owned());
        let device = TimedExecutor::new(&spec);
        assert_eq!(device.slowed(), 1.0);
        fs::write(file.path(), "4\n").unwrap();
        assert_eq!(device.slowed(), 4.0);
        fs::write(file.path(), "-4").unwrap();
        assert_eq!(device.slowed(), 1.0);
    }
}
