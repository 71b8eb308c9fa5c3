//! What happened so far, for metrics. Each figure only grows; readers take no lock.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the scheduler was started.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) fn read(&self) -> Counts {
                Counts { $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    /// Chunks let in.
    admitted,
    /// Chunks refused because the queue holds all the tokens or chunks it may.
    refused_full,
    /// Chunks refused because their deadline would pass.
    refused_late,
    /// Chunks refused for any other reason.
    refused_other,
    /// Chunks answered in full.
    answered,
    /// Chunks whose deadline passed while items of theirs waited.
    expired,
    /// Chunks cancelled by their callers.
    cancelled,
    /// Items that left the queue because their chunk was cancelled or expired.
    items_dropped_waiting,
    /// Items in a batch that was formed, but thrown out before it ran.
    items_dropped_formed,
    /// Second or later attempts cancelled.
    hedges_cancelled,
    /// Items of such that left the queue in time.
    hedge_items_dropped_waiting,
    /// Batches that ran.
    batches,
    /// Tokens of batches that ran.
    batch_tokens,
    /// The work that they were.
    batch_work,
    /// Tokens those batches had room for.
    batch_room_tokens,
    /// Tokens that were run for chunks that were over.
    wasted_tokens,
    /// Those of them that were second or later attempts.
    wasted_hedge_tokens,
    /// Microseconds the devices ran.
    run_us,
    /// Microseconds that preparing batches took.
    prepare_us,
    /// Panics caught while preparing a batch.
    panics_prepare,
    /// Panics caught while running one.
    panics_run,
    /// Panics caught while finishing one.
    panics_finish,
    /// Batches that failed and were cut up to find the item at fault.
    batches_failed,
    /// Items given up because they fail alone.
    poisoned,
    /// Items refused because they failed alone before.
    quarantined,
    /// Times a device ran out of memory.
    out_of_memory,
    /// Times a device was lost.
    devices_lost,
    /// Times a lost device's backend was made anew.
    devices_rebuilt,
    /// Items of lost devices that were handed on to another one.
    items_handed_on,
}

/// A figure that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
