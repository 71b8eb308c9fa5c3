//! Panics are counted wherever they happen and logged as one line; whoever runs
//! the work catches them and fails its items only.

use std::{
    panic,
    sync::{
        Once,
        atomic::{AtomicU64, Ordering},
    },
};

static COUNT: AtomicU64 = AtomicU64::new(0);
static WATCH: Once = Once::new();

/// Counts panics from now on, before whatever else is told of them.
pub(crate) fn watch() {
    WATCH.call_once(|| {
        let next = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            COUNT.fetch_add(1, Ordering::Relaxed);
            next(info);
        }));
    });
}

/// Panics of this process since they are watched.
pub(crate) fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_any_thread_is_counted() {
        watch();
        let before = count();
        assert!(std::thread::spawn(|| panic!("counted")).join().is_err());
        assert!(count() > before);
    }
}
