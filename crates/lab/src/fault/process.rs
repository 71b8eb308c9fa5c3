//! What goes wrong while it is measured: a signal to a process, or a command, at a time or again and again.
//!
//! Invariant: a process that was stopped is continued, also when the benchmark ends early.

use std::{
    fs,
    str::FromStr,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{process::Command, task::JoinSet, time::sleep_until};

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpec {
    when: When,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    At(Duration),
    /// For the first time at `from`.
    Every {
        every: Duration,
        from: Duration,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Signal { signal: Signal, lasting: Option<Duration>, pids: Vec<String> },
    Run(String),
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
            (Some(at), None) if from.is_none() => When::At(at),
            (None, Some(every)) => When::Every { every, from: from.unwrap_or(every) },
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

fn named(name: &str) -> Result<Signal, String> {
    Ok(match name {
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        "TERM" => Signal::TERM,
        "KILL" => Signal::KILL,
        "HUP" => Signal::HUP,
        _ => return Err(format!("signal={name} is not one of STOP, CONT, TERM, KILL, HUP")),
    })
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
                When::At(at) => (at, None),
                When::Every { every, from } => (from, Some(every)),
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
        assert_eq!(fault, FaultSpec { when: When::Every { every: second, from: second }, what });
        let fault: FaultSpec = "from=10s,every=1s,signal=HUP,pid=12".parse().unwrap();
        assert_eq!(fault.when, When::Every { every: second, from: 10 * second });
        let fault: FaultSpec = "at=5s,run=echo a=b,c".parse().unwrap();
        assert_eq!(fault.what, What::Run("echo a=b,c".to_owned()));
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
