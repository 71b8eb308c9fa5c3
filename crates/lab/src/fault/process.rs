//! What goes wrong while it is measured: a signal to a process, or a command, at a time or again and again.
//!
//! Invariant: a process that was stopped is continued, also when the benchmark ends early.

use std::{
    fmt, fs,
    str::FromStr,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{process::Command, task::JoinSet, time::sleep_until};

use super::Fault;

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpec {
    when: FaultTime,
    what: What,
}

/// When it does, from when measuring starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultTime {
    /// Once.
    At(Duration),
    /// Again and again.
    Every {
        /// From one time to the next.
        every: Duration,
        /// For the first time.
        from: Duration,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Signal { signal: Signal, lasting: Option<Duration>, pids: Vec<String> },
    Run(String),
}

impl FaultSpec {
    /// A fault of one of these processes, picked at random each time, by the signal that brings it about; none for
    /// faults that no signal does.
    #[must_use]
    pub fn of(when: FaultTime, fault: Fault, pids: Vec<String>) -> Option<Self> {
        let (signal, lasting) = match fault {
            Fault::Stall(length) => (Signal::STOP, Some(length)),
            Fault::Crash(_) => (Signal::KILL, None),
            Fault::Replace => (Signal::TERM, None),
            Fault::Pace(_) | Fault::Failing(_) | Fault::BlackHole(_) | Fault::Join => return None,
        };
        Some(Self { when, what: What::Signal { signal, lasting, pids } })
    }
}

/// As it is read.
impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: Duration| format!("{}ms", time.as_millis());
        match self.when {
            FaultTime::At(at) => write!(f, "at={}", time(at))?,
            FaultTime::Every { every, from } => write!(f, "from={},every={}", time(from), time(every))?,
        }
        match &self.what {
            What::Run(command) => write!(f, ",run={command}"),
            What::Signal { signal, lasting, pids } => {
                if let Some(lasting) = lasting {
                    write!(f, ",for={}", time(*lasting))?;
                }
                let name = SIGNALS.iter().find(|(_, known)| known == signal).map_or("", |(name, _)| name);
                write!(f, ",signal={name},pid={}", pids.join(":"))
            }
        }
    }
}

impl FromStr for FaultSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut at, mut every, mut from) = (None, None, None);
        let (mut signal, mut lasting, mut pids, mut run) = (None, None, None, None);
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(command) = rest.strip_prefix("run=") {
                run = Some(command.to_owned());
                break;
            }
            let (pair, after) = rest.split_once(',').unwrap_or((rest, ""));
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not key=value"))?;
            let time = || humantime::parse_duration(value).map_err(|error| format!("{key}={value}: {error}"));
            match key {
                "at" => at = Some(time()?),
                "every" => {
                    every = Some(time()?);
                    if every == Some(Duration::ZERO) {
                        return Err("every=0s would never end".to_owned());
                    }
                }
                "from" => from = Some(time()?),
                "for" => lasting = Some(time()?),
                "signal" => signal = Some(named(value)?),
                "pid" => pids = Some(value.split(':').map(str::to_owned).collect()),
                _ => return Err(format!("{key} is not one of at, every, from, for, signal, pid, run")),
            }
            rest = after;
        }
        let when = match (at, every) {
            (Some(at), None) if from.is_none() => FaultTime::At(at),
            (None, Some(every)) => FaultTime::Every { every, from: from.unwrap_or(every) },
            (Some(_), None) => return Err("from goes with every".to_owned()),
            _ => return Err("either at or every must be given".to_owned()),
        };
        let what = match (signal, pids, run) {
            (Some(signal), Some(pids), None) => {
                if lasting.is_some() && signal != Signal::STOP {
                    return Err("for goes with signal=STOP".to_owned());
                }
                What::Signal { signal, lasting, pids }
            }
            (None, None, Some(command)) if lasting.is_none() => What::Run(command),
            _ => return Err("either signal and pid, or run, must be given".to_owned()),
        };
        Ok(Self { when, what })
    }
}

/// Signals that may be sent.
const SIGNALS: [(&str, Signal); 5] = [
    ("STOP", Signal::STOP),
    ("CONT", Signal::CONT),
    ("TERM", Signal::TERM),
    ("KILL", Signal::KILL),
    ("HUP", Signal::HUP),
];

fn named(name: &str) -> Result<Signal, String> {
    let found = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, signal)| *signal);
    let known = || SIGNALS.map(|(name, _)| name).join(", ");
    found.ok_or_else(|| format!("signal={name} is not one of {}", known()))
}

/// Lets every fault happen, counted from `start`, until the set is dropped. What could not be done is told on
/// standard error.
pub fn start(faults: &[FaultSpec], start: Instant, seed: u64) -> JoinSet<()> {
    let mut all = JoinSet::new();
    for (n, fault) in faults.iter().cloned().enumerate() {
        // Each its own sequence: how long one takes must not move another.
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(n as u64));
        all.spawn(async move {
            let (first, every) = match fault.when {
                FaultTime::At(at) => (at, None),
                FaultTime::Every { every, from } => (from, Some(every)),
            };
            let mut next = start + first;
            loop {
                sleep_until(next.into()).await;
                happen(&fault.what, &mut rng).await;
                let Some(every) = every else { break };
                next += every;
            }
        });
    }
    all
}

async fn happen(what: &What, rng: &mut StdRng) {
    match what {
        What::Signal { signal, lasting, pids } => {
            let Some(name) = pids.get(rng.random_range(0..pids.len().max(1))) else { return };
            let Some(pid) = pid(name) else { return tell(&format!("{name} names no process")) };
            if let Err(error) = kill_process(pid, *signal) {
                return tell(&format!("cannot signal {name}: {error}"));
            }
            if let Some(lasting) = lasting {
                let _stopped = Stopped(pid);
                tokio::time::sleep(*lasting).await;
            }
        }
        What::Run(command) => match Command::new("sh").args(["-c", command]).kill_on_drop(true).status().await {
            Ok(status) if status.success() => {}
            Ok(status) => tell(&format!("{command:?} ended with {status}")),
            Err(error) => tell(&format!("{command:?} cannot be run: {error}")),
        },
    }
}

/// Continues its process when dropped.
struct Stopped(Pid);

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have died meanwhile; then there is nothing to continue.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// A process id, or the one in a file.
fn pid(name: &str) -> Option<Pid> {
    let id = name.parse::<i32>().ok().or_else(|| fs::read_to_string(name).ok()?.trim().parse().ok())?;
    // Zero and below would mean whole groups of processes.
    (id > 0).then(|| Pid::from_raw(id)).flatten()
}

fn tell(what: &str) {
    eprintln!("warning: fault: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read() {
        let fault: FaultSpec = "every=1s,for=150ms,signal=STOP,pid=12:/run/x.pid".parse().unwrap();
        let pids = vec!["12".to_owned(), "/run/x.pid".to_owned()];
        let what = What::Signal { signal: Signal::STOP, lasting: Some(Duration::from_millis(150)), pids };
        let second = Duration::from_secs(1);
        assert_eq!(fault, FaultSpec { when: FaultTime::Every { every: second, from: second }, what });
        let fault: FaultSpec = "from=10s,every=1s,signal=HUP,pid=12".parse().unwrap();
        assert_eq!(fault.when, FaultTime::Every { every: second, from: 10 * second });
        let fault: FaultSpec = "at=5s,run=echo a=b,c".parse().unwrap();
        assert_eq!(fault.what, What::Run("echo a=b,c".to_owned()));
    }

    #[test]
    fn what_is_written_is_read() {
        let every = FaultTime::Every { every: Duration::from_millis(1_500), from: Duration::from_secs(90) };
        let pids = || vec!["12".to_owned(), "/run/x.pid".to_owned()];
        let stall = FaultSpec::of(every, Fault::Stall(Duration::from_millis(150)), pids()).unwrap();
        assert_eq!(stall.to_string(), "from=90000ms,every=1500ms,for=150ms,signal=STOP,pid=12:/run/x.pid");
        let run = FaultSpec { when: FaultTime::At(Duration::ZERO), what: What::Run("echo a=b,c".to_owned()) };
        let others = [Fault::Crash(None), Fault::Replace].map(|fault| FaultSpec::of(run.when, fault, pids()).unwrap());
        for fault in others.into_iter().chain([stall, run]) {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        assert_eq!(FaultSpec::of(every, Fault::Pace(2.0), pids()), None);
    }

    #[test]
    fn slips_are_named() {
        for (text, word) in [
            ("signal=KILL,pid=1", "at or every"),
            ("at=1s,every=1s,signal=KILL,pid=1", "at or every"),
            ("at=1s,from=1s,signal=KILL,pid=1", "from"),
            ("every=0s,run=true", "every=0s"),
            ("at=1s,signal=KILL,pid=1,for=1s", "STOP"),
            ("at=1s,signal=USR1,pid=1", "USR1"),
            ("at=1s,signal=KILL", "pid"),
            ("at=soon,run=true", "soon"),
            ("at=1s", "run"),
        ] {
            let error = text.parse::<FaultSpec>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn groups_of_processes_are_never_meant() {
        assert_eq!((pid("0"), pid("-1"), pid("nothing")), (None, None, None));
        assert!(pid("1").is_some());
    }

    #[tokio::test]
    async fn a_stopped_process_goes_on() {
        let mut child = Command::new("sh").args(["-c", "exec sleep 600"]).kill_on_drop(true).spawn().unwrap();
        let id = child.id().unwrap();
        let state = move || {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('?')
        };
        let fault: FaultSpec = format!("at=0s,for=1h,signal=STOP,pid={id}").parse().unwrap();
        let faults = start(&[fault], Instant::now(), 1);
        if cfg!(target_os = "linux") {
            while state() != 'T' {
                tokio::task::yield_now().await;
            }
            drop(faults);
            while state() == 'T' {
                tokio::task::yield_now().await;
            }
        }
        child.kill().await.unwrap();
    }
}
