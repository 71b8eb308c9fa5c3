//! Processor time of this process, all threads.

use std::time::Duration;

/// What was used so far; zero where the system does not say.
pub(crate) fn used() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).ok(), u32::try_from(time.tv_nsec).ok());
    seconds.zip(nanos).map_or(Duration::ZERO, |(seconds, nanos)| Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time() {
        let before = used();
        let mut sum = 0_u64;
        while used() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(used() > before);
    }
}
