//! The one thread that makes, runs and drops a backend.
//!
//! Invariants: the backend never leaves this thread; a panic in it fails the
//! parts of its batch and no others; when the thread ends, for whatever reason,
//! nobody is left waiting.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::{runtime, sync::oneshot, time::Instant};

use crate::{
    backend::Backend,
    queue::Taken,
    scheduler::StartError,
    shared::{BatchOutputs, Shared},
};

/// Tells the callers when the thread ends; dropped after the backend.
struct Closing<B: Backend>(Arc<Shared<B>>);

impl<B: Backend> Drop for Closing<B> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The thread's whole life. `runtime` lends its clock, which tests may pause.
pub(crate) fn run<B: Backend, E>(
    shared: Arc<Shared<B>>,
    make: impl FnOnce() -> Result<B, E>,
    ready: oneshot::Sender<Result<(), StartError<E>>>,
    runtime: Option<runtime::Handle>,
) {
    let _clock = runtime.as_ref().map(runtime::Handle::enter);
    let closing = Closing(shared);
    let made = catch_unwind(AssertUnwindSafe(make));
    let made = made.map_err(|panic| StartError::Panicked(message(&*panic))).and_then(|m| m.map_err(StartError::Make));
    let mut backend = match made {
        Ok(backend) => backend,
        Err(error) => {
            // Whoever started this may have gone; then nobody needs to know.
            drop(ready.send(Err(error)));
            return;
        }
    };
    // If nobody waits, the last handle is gone too and the loop ends at once.
    drop(ready.send(Ok(())));
    while let Some(batch) = closing.0.next_batch() {
        let started = Instant::now();
        let outputs = run_batch(&mut backend, &batch);
        closing.0.finish(batch, started.elapsed(), outputs);
    }
}

/// Runs one batch; `None` where the backend failed under it.
fn run_batch<B: Backend>(backend: &mut B, batch: &[Taken<B::Item>]) -> BatchOutputs<B> {
    let items: Vec<&B::Item> = batch.iter().map(|unit| &unit.item).collect();
    match catch_unwind(AssertUnwindSafe(|| backend.run(&items))) {
        Ok(outputs) if outputs.len() == items.len() => Some(outputs),
        Ok(outputs) => {
            tracing::error!(
                asked = items.len(),
                answered = outputs.len(),
                "the backend gave a wrong number of answers"
            );
            None
        }
        Err(panic) => {
            tracing::error!(panic = message(&*panic), "the backend panicked");
            None
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
