//! A process that is started again whenever it ends.
//!
//! Invariant: a file holds the process id it has now, or is not there; what was stopped hears of its end.

use std::{
    fs,
    fs::File,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use xtask::{process::Owned, server_process::unset_settings};

/// Between a server's end and its next start: a container's usual restart.
const RESTART_AFTER: Duration = Duration::from_millis(500);

/// How often it looks whether the process ended.
const LOOK: Duration = Duration::from_millis(10);

/// Starts a process again whenever it ends.
#[derive(Debug)]
pub(crate) struct Respawner {
    /// What runs.
    pub(crate) program: PathBuf,
    /// With what.
    pub(crate) arguments: Vec<String>,
    /// Where its standard error goes.
    pub(crate) log: PathBuf,
    /// Holds its process id.
    pub(crate) pid_file: PathBuf,
    /// Once this is there, it is not started again.
    pub(crate) gone_file: PathBuf,
    /// Ends it for good.
    pub(crate) stop: Arc<AtomicBool>,
}

impl Respawner {
    /// Starts it, and writes its process id down.
    pub(crate) fn spawn(&self) -> anyhow::Result<Owned> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut command = Command::new(&self.program);
        unset_settings(&mut command);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = Owned::spawn(&mut command, "a server")?;
        fs::write(&self.pid_file, child.id().to_string())
            .with_context(|| format!("cannot write {}", self.pid_file.display()))?;
        Ok(child)
    }

    /// Starts it again whenever it ends, until it is stopped.
    pub(crate) fn keep(&self, mut child: Owned) {
        let mut ended = None;
        while !self.stop.load(Ordering::Relaxed) {
            match (ended, child.ended()) {
                (None, Ok(None)) => {}
                (None, _) => {
                    // Its number may soon be another process's.
                    let _ = fs::remove_file(&self.pid_file);
                    ended = Some(Instant::now());
                }
                (Some(since), _) if since.elapsed() >= RESTART_AFTER && !self.gone_file.exists() => {
                    match self.spawn() {
                        Ok(next) => {
                            child = next;
                            ended = None;
                        }
                        Err(error) => eprintln!("warning: {error:#}"),
                    }
                }
                (Some(_), _) => {}
            }
            thread::sleep(LOOK);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    #[test]
    fn a_server_that_dies_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let [pid_file, gone_file, log] = ["pid", "gone", "log"].map(|end| dir.path().join(end));
        let arguments = ["600".to_owned()].to_vec();
        let respawner = Respawner {
            program: "sleep".into(),
            arguments,
            log,
            pid_file: pid_file.clone(),
            gone_file,
            stop: Arc::clone(&stop),
        };
        let first = respawner.spawn().unwrap();
        let old = first.id();
        let thread = thread::spawn(move || respawner.keep(first));
        let pid = || fs::read_to_string(&pid_file).ok().and_then(|t| t.parse::<u32>().ok());
        kill_process(Pid::from_raw(old as i32).unwrap(), Signal::KILL).unwrap();
        let new = loop {
            match pid() {
                Some(new) if new != old => break new,
                _ => thread::sleep(LOOK),
            }
        };
        stop.store(true, Ordering::Relaxed);
        thread.join().unwrap();
        assert!(kill_process(Pid::from_raw(new as i32).unwrap(), Signal::CONT).is_err(), "it outlived its respawner");
    }
}
