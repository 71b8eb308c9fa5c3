//! Children: run to their end, stopped when the user stops us.

use std::{
    io::Read,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt;

/// How long a child may take to leave after SIGTERM before it is killed: a server
/// with nothing in flight needs milliseconds.
const GRACE: Duration = Duration::from_secs(5);

/// A child that does not outlive this value: dropped, it is asked to leave, then killed.
#[derive(Debug)]
pub struct Owned(Child);

impl Owned {
    /// Starts `command`. `what` names it in errors.
    pub fn spawn(command: &mut Command, what: &str) -> anyhow::Result<Self> {
        command.spawn().map(Self).with_context(|| format!("cannot start {what} ({})", command.get_program().display()))
    }

    /// Its status if it has ended.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.0.try_wait().context("cannot wait for a child")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to leave (SIGTERM) without waiting.
    pub fn ask_to_leave(&self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // It may be gone already; the wait that follows tells.
            let _ = kill_process(pid, Signal::TERM);
            // One that is stopped must go on to hear of it.
            let _ = kill_process(pid, Signal::CONT);
        }
    }

    /// Its standard output, where that is piped and not taken yet.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    /// Waits for its end, or for the user to stop us.
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        interrupt::poll(None, || self.ended())?.context("a child has no status")
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        self.ask_to_leave();
        let deadline = std::time::Instant::now() + GRACE;
        while std::time::Instant::now() < deadline {
            if matches!(self.0.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `command` to its end; its output goes where ours goes.
pub fn status(command: &mut Command, what: &str) -> anyhow::Result<ExitStatus> {
    Owned::spawn(command.stdin(Stdio::null()), what)?.wait()
}

/// Runs `command` to its end and wants it to succeed.
pub fn run(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let status = status(command, what)?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}

/// What a child wrote, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output; empty where that was not piped.
    pub stdout: String,
    /// Its standard error; empty where that was not piped.
    pub stderr: String,
}

/// Runs `command` to its end and keeps some of its output; a stream that is not
/// kept stays as set on the command.
pub fn output(command: &mut Command, what: &str, streams: Keep) -> anyhow::Result<Output> {
    if streams != Keep::Stderr {
        command.stdout(Stdio::piped());
    }
    if streams != Keep::Stdout {
        command.stderr(Stdio::piped());
    }
    let mut child = Owned::spawn(command.stdin(Stdio::null()), what)?;
    let out = child.0.stdout.take().map(reader);
    let err = child.0.stderr.take().map(reader);
    let status = child.wait()?;
    let text = |handle: Option<thread::JoinHandle<String>>| handle.and_then(|h| h.join().ok()).unwrap_or_default();
    Ok(Output { status, stdout: text(out), stderr: text(err) })
}

/// Which streams [`output`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Standard output and error.
    Both,
    /// Standard output only.
    Stdout,
    /// Standard error only.
    Stderr,
}

fn reader(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A stream cut short still holds what was said before.
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
