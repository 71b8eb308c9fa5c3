//! Ctrl-C, SIGTERM and SIGHUP become a flag that every wait and copy looks at.
//!
//! Nothing dies in the middle: the flag turns into an [`Interrupted`] error that
//! unwinds through the guards owning children and temporary folders.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static FLAG: std::sync::OnceLock<Arc<AtomicBool>> = std::sync::OnceLock::new();

/// How often a wait looks at the flag: short beside anything waited for here.
const LOOK: Duration = Duration::from_millis(20);

/// The user asked to stop.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Starts catching the signals.
pub(crate) fn listen() -> anyhow::Result<()> {
    let flag = FLAG.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // A second signal ends the process at once, should a guard be stuck.
        signal_hook::flag::register_conditional_shutdown(signal, i32::from(crate::INTERRUPTED), Arc::clone(flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(flag)))
            .context("cannot listen for signals")?;
    }
    Ok(())
}

/// True once a signal came.
pub fn came() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// An error once a signal came.
pub fn check() -> anyhow::Result<()> {
    if came() { Err(Interrupted.into()) } else { Ok(()) }
}

/// Asks `ready` again and again until it gives something, `limit` passes (`None`) or a signal comes.
pub fn poll<T>(
    limit: Option<Duration>,
    mut ready: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Option<T>> {
    let start = Instant::now();
    loop {
        check()?;
        if let Some(value) = ready()? {
            return Ok(Some(value));
        }
        if limit.is_some_and(|limit| start.elapsed() >= limit) {
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}
