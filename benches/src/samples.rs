//! Memory, threads, open files and processor time of a process while it is loaded, from `/proc`.
//!
//! Leaks show as a difference between quarters of the time: the second is warm, the last should look like it.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often a process is looked at.
const EVERY: Duration = Duration::from_millis(250);

/// One look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Resident memory in MiB.
    pub memory: f64,
    /// Threads.
    pub threads: f64,
    /// Open files and sockets.
    pub files: f64,
}

impl Sample {
    /// Looks at a process; `None` where it is gone or the system has no `/proc`.
    pub fn of(pid: i32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').split_whitespace().next()?.parse::<f64>().ok()
        };
        let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        Some(Self { memory: field("VmRSS")? / 1024.0, threads: field("Threads")?, files: files as f64 })
    }
}

/// Ticks of a second in `/proc/PID/stat`: the kernel's `USER_HZ`, which is the same on every architecture that we run on.
const TICKS: f64 = 100.0;

/// Processor time that a process has taken so far, all threads; `None` where it is gone or the system has no `/proc`.
#[must_use]
pub fn processor_time(pid: i32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything; user and system time are the 14th and 15th field.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Duration::try_from_secs_f64((ticks(11)? + ticks(12)?) / TICKS).ok()
}

/// What was seen over a time.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Sample>);

impl Samples {
    /// Mean of the second quarter and of the last.
    pub fn quarters(&self, of: impl Fn(&Sample) -> f64) -> (f64, f64) {
        let n = self.0.len();
        let mean = |part: &[Sample]| part.iter().map(&of).sum::<f64>() / part.len() as f64;
        let part = |from: usize, to: usize| self.0.get(from..to).unwrap_or_default();
        (mean(part(n / 4, n / 2)), mean(part(n - n / 4, n)))
    }

    /// The most.
    pub fn most(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        self.0.iter().map(of).fold(f64::NAN, f64::max)
    }
}

/// Looks at a process until it is asked for what it saw.
#[derive(Debug)]
pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Samples>>,
}

impl Sampler {
    /// Starts looking.
    pub fn start(pid: i32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut seen = Samples::default();
            while !stopped.load(Ordering::Relaxed) {
                seen.0.extend(Sample::of(pid));
                thread::sleep(EVERY);
            }
            seen
        });
        Self { stop, thread: Some(thread) }
    }

    /// What was seen.
    pub fn finish(mut self) -> Samples {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_are_the_second_and_the_last() {
        let all = (0..8).map(|n| Sample { memory: f64::from(n), ..Sample::default() }).collect();
        let samples = Samples(all);
        assert_eq!(samples.quarters(|s| s.memory), (2.5, 6.5));
        assert_eq!(samples.most(|s| s.memory), 7.0);
        assert!(Samples::default().quarters(|s| s.memory).0.is_nan());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn work_takes_processor_time() {
        let taken = || processor_time(i32::try_from(std::process::id()).unwrap()).unwrap();
        let (before, mut sum) = (taken(), 0_u64);
        while taken() == before {
            (0..100_000_u64).for_each(|n| sum = std::hint::black_box(sum.wrapping_add(n)));
        }
        assert!(taken() > before);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_can_be_seen() {
        let sample = Sample::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(sample.memory > 0.5 && sample.threads >= 1.0 && sample.files >= 3.0, "{sample:?}");
    }
}
