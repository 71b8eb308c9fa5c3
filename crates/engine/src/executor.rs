//! Runs batches of one model on one device.
//!
//! An [`Executor`] is made, used and dropped on one thread: `Session::run` takes
//! `&mut self`, and graphs captured on a GPU are bound to their thread. Its [`Host`]
//! is shared by threads: it lays batches out and reads answers beside the device.
//!
//! ```text
//! Host::prepare → Executor::run_batch → Host::finish
//! ```
//! [`Executor::run`] does all three in turn.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    cuda::{self, RunFault},
    device::Device,
    error::LoadError,
    generic::{GenericBatch, GenericExecutor, GenericHost, GenericRaw},
    item::{ItemFault, Output, WorkItem},
    lookup::Lookup,
    model::Model,
    native::{CapturedGraphs, NativeBatch, NativeExecutor, NativeHost, NativeRaw},
    open::ServedBy,
    runtime::{ArenaUse, NodeTime, arena, profile},
};

/// A loaded session and what it needs to run.
#[derive(Debug)]
pub struct Executor {
    device: Device,
    inner: Inner,
    host: Arc<Host>,
}

#[derive(Debug)]
enum Inner {
    Native(Box<NativeExecutor>),
    Generic(Box<GenericExecutor>),
    /// Nothing runs: a table answers on the host.
    Lookup,
    #[cfg(feature = "timed")]
    Timed(crate::timed::TimedExecutor),
    /// Dropped, on its way out.
    Closed,
}

/// The host's side of an executor: no device state, shared by threads.
#[derive(Debug)]
pub struct Host {
    inner: HostInner,
    /// Answers items whose route has a table and no encoder.
    lookup: Option<Arc<Lookup>>,
}

#[derive(Debug)]
enum HostInner {
    Native(Arc<NativeHost>),
    Generic(Arc<GenericHost>),
    Lookup,
    #[cfg(feature = "timed")]
    Timed,
}

/// A batch laid out for the device.
#[derive(Debug)]
pub struct PreparedBatch {
    inner: BatchInner,
    /// What was answered without the device, by item; empty where nothing was.
    answered: Vec<Option<Answer>>,
}

type Answer = Result<Output, ItemFault>;

#[derive(Debug)]
enum BatchInner {
    Native(NativeBatch),
    Generic(GenericBatch),
    Lookup,
    #[cfg(feature = "timed")]
    Timed(Vec<WorkItem>),
}

/// What the device gave for a batch.
#[derive(Debug)]
pub struct RawOutput {
    inner: RawInner,
    answered: Vec<Option<Answer>>,
}

#[derive(Debug)]
enum RawInner {
    Native(NativeRaw),
    Generic(GenericRaw),
    Lookup,
    #[cfg(feature = "timed")]
    Timed(Vec<Result<Output, ItemFault>>),
}

impl PreparedBatch {
    /// Tokens that the device is given, those that fill a shape included.
    #[must_use]
    pub fn tokens(&self) -> usize {
        match &self.inner {
            BatchInner::Native(b) => b.tokens(),
            BatchInner::Generic(b) => b.tokens(),
            BatchInner::Lookup => 0,
            #[cfg(feature = "timed")]
            BatchInner::Timed(items) => items.iter().map(|item| item.sequence.len()).sum(),
        }
    }
}

impl Host {
    /// Lays a batch out: packs, pads, fills tensors. Faults of single items are kept
    /// inside and come out of [`finish`](Self::finish).
    #[must_use]
    pub fn prepare(&self, items: &[&WorkItem]) -> PreparedBatch {
        let answered: Vec<Option<Answer>> = match &self.lookup {
            Some(lookup) => items.iter().map(|item| lookup.answer(item)).collect(),
            None => Vec::new(),
        };
        let left: Vec<&WorkItem>;
        let items = if answered.iter().any(Option::is_some) {
            left = items.iter().zip(&answered).filter(|(_, a)| a.is_none()).map(|(&item, _)| item).collect();
            &left[..]
        } else {
            items
        };
        let inner = match &self.inner {
            HostInner::Native(h) => BatchInner::Native(h.prepare(items)),
            HostInner::Generic(h) => BatchInner::Generic(h.prepare(items)),
            HostInner::Lookup => BatchInner::Lookup,
            #[cfg(feature = "timed")]
            HostInner::Timed => BatchInner::Timed(items.iter().map(|&item| item.clone()).collect()),
        };
        PreparedBatch { inner, answered }
    }

    /// Turns what the device gave for `items` into one answer each, in order.
    #[must_use]
    pub fn finish(&self, items: &[&WorkItem], raw: RawOutput) -> Vec<Result<Output, ItemFault>> {
        let RawOutput { inner, answered } = raw;
        if !answered.iter().any(Option::is_some) {
            return self.finish_inner(items, inner);
        }
        if answered.len() != items.len() {
            return fail(items, "the answers are another batch's");
        }
        let left: Vec<&WorkItem> =
            items.iter().zip(&answered).filter(|(_, a)| a.is_none()).map(|(&item, _)| item).collect();
        let mut given = self.finish_inner(&left, inner).into_iter();
        let missing = || Err(ItemFault::Run("the item was left out".to_owned()));
        answered.into_iter().map(|a| a.unwrap_or_else(|| given.next().unwrap_or_else(missing))).collect()
    }

    fn finish_inner(&self, items: &[&WorkItem], raw: RawInner) -> Vec<Answer> {
        match (&self.inner, raw) {
            (HostInner::Native(h), RawInner::Native(raw)) => h.finish(items, raw),
            (HostInner::Generic(h), RawInner::Generic(raw)) => h.finish(items, raw),
            (HostInner::Lookup, RawInner::Lookup) => {
                items.iter().map(|item| Err(ItemFault::WrongWant(item.want.name()))).collect()
            }
            #[cfg(feature = "timed")]
            (HostInner::Timed, RawInner::Timed(answers)) if answers.len() == items.len() => answers,
            _ => fail(items, "the answers are another model's"),
        }
    }
}

impl Executor {
    /// Loads `model` into a session of its own on the device of its options. Call it on
    /// the thread that will run it.
    ///
    /// # Errors
    /// When ONNX Runtime or the device cannot be had, or ONNX Runtime refuses the model.
    pub fn new(model: &Model) -> Result<Self, LoadError> {
        Self::on(model, model.options().device)
    }

    /// [`new`](Self::new) on another device than that of the model's options.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn on(model: &Model, device: Device) -> Result<Self, LoadError> {
        let (inner, host) = match model.served_by() {
            ServedBy::Native(native) => {
                // Keeps captures away where it must, which is not all along.
                let e = NativeExecutor::new(native, model.options(), device)?;
                let host = HostInner::Native(e.host());
                (Inner::Native(Box::new(e)), host)
            }
            ServedBy::Generic(generic) => {
                let _using = on_gpu(device).then(cuda::using);
                let e = GenericExecutor::new(generic, model.options(), device)?;
                let host = HostInner::Generic(e.host());
                (Inner::Generic(Box::new(e)), host)
            }
            ServedBy::Lookup => (Inner::Lookup, HostInner::Lookup),
            #[cfg(feature = "timed")]
            ServedBy::Timed(spec) => (Inner::Timed(crate::timed::TimedExecutor::new(spec)), HostInner::Timed),
        };
        Ok(Self { device, inner, host: Arc::new(Host { inner: host, lookup: model.lookup() }) })
    }

    /// Where it runs.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// The host's side.
    #[must_use]
    pub fn host(&self) -> Arc<Host> {
        Arc::clone(&self.host)
    }

    /// Captures what small batches replay; nothing where the device or the model has no
    /// graphs. Seconds at most; for warm-up, on the thread that runs it.
    pub fn capture(&mut self) -> CapturedGraphs {
        match &mut self.inner {
            Inner::Native(e) => e.capture(),
            _ => CapturedGraphs::default(),
        }
    }

    /// Takes the device memory that batches of up to `tokens` will need, so that it does not grow later. For
    /// warm-up; nothing on processors. What cannot be had now is logged, and taken when it is needed.
    pub fn reserve(&mut self, tokens: usize) {
        let _using = on_gpu(self.device).then(cuda::using);
        if let Inner::Native(e) = &mut self.inner
            && let Err(error) = e.reserve(tokens)
        {
            tracing::warn!(device = %self.device, tokens, %error, "no device memory in one piece for the largest batch");
        }
    }

    /// What its arena holds of the device's memory. A few microseconds; on the thread that runs it.
    ///
    /// # Errors
    /// Where ONNX Runtime keeps no account of it.
    pub fn arena(&self) -> ort::Result<ArenaUse> {
        match &self.inner {
            Inner::Native(e) => arena::of(e.session(), self.device),
            Inner::Generic(e) => {
                let mut all = e.sessions().map(|s| arena::of(s, self.device));
                let first = all.next().unwrap_or_else(|| Err(ort::Error::new("there is no session")))?;
                all.try_fold(first, |sum, one| Ok(sum + one?))
            }
            #[cfg(feature = "timed")]
            Inner::Timed(_) => Err(ort::Error::new("there is no session")),
            Inner::Lookup | Inner::Closed => Err(ort::Error::new("there is no session")),
        }
    }

    /// Ends the profile that the model's options asked for: which provider ran which
    /// operators, longest first.
    ///
    /// # Errors
    /// When no profile was asked for, or its file cannot be read.
    pub fn profile(&mut self) -> Result<Vec<NodeTime>, LoadError> {
        let file = match &mut self.inner {
            Inner::Native(e) => e.end_profile(),
            Inner::Generic(e) => e.end_profile(),
            #[cfg(feature = "timed")]
            Inner::Timed(_) => return Ok(Vec::new()),
            Inner::Lookup | Inner::Closed => return Ok(Vec::new()),
        };
        let path = PathBuf::from(file.map_err(LoadError::session(Path::new("profile")))?);
        let nodes = profile::read(&path)?;
        std::fs::remove_file(&path).map_err(LoadError::io(&path))?;
        Ok(nodes)
    }

    /// Runs a batch that this executor's host laid out.
    ///
    /// # Errors
    /// Sorted by what the next run may hope for; see [`RunFault`].
    pub fn run_batch(&mut self, batch: PreparedBatch) -> Result<RawOutput, RunFault> {
        let _using = on_gpu(self.device).then(cuda::using);
        let answered = batch.answered;
        let given = match (&mut self.inner, batch.inner) {
            (Inner::Native(e), BatchInner::Native(batch)) => e.run(batch).map(RawInner::Native),
            (Inner::Generic(e), BatchInner::Generic(batch)) => e.run(batch).map(RawInner::Generic),
            (Inner::Lookup, BatchInner::Lookup) => Ok(RawInner::Lookup),
            #[cfg(feature = "timed")]
            (Inner::Timed(e), BatchInner::Timed(items)) => {
                Ok(RawInner::Timed(e.run(&items.iter().collect::<Vec<_>>())))
            }
            _ => Err(RunFault::Failed("the batch was laid out for another model".to_owned())),
        };
        given.map(|inner| RawOutput { inner, answered })
    }

    /// Runs one batch and returns one answer an item, in order. A batch that fails as a whole is run again item by
    /// item, so that one bad item costs no other its answer. A server's scheduler does better with
    /// [`run_batch`](Self::run_batch): it halves what fails.
    pub fn run(&mut self, items: &[&WorkItem]) -> Vec<Result<Output, ItemFault>> {
        let host = self.host();
        one_by_one(items, &mut |part| self.run_batch(host.prepare(part)).map(|raw| host.finish(part, raw)))
    }
}

impl Drop for Executor {
    /// Gives device memory back, which would spoil a capture of another thread.
    fn drop(&mut self) {
        let _using = on_gpu(self.device).then(cuda::using);
        self.inner = Inner::Closed;
    }
}

fn on_gpu(device: Device) -> bool {
    matches!(device, Device::Cuda(_))
}

/// One answer an item, in their order.
type Answers = Vec<Result<Output, ItemFault>>;

/// Runs `items` together by `run`, and each alone where that fails and the device is still there.
pub(crate) fn one_by_one(
    items: &[&WorkItem],
    run: &mut dyn FnMut(&[&WorkItem]) -> Result<Answers, RunFault>,
) -> Answers {
    match run(items) {
        Ok(answers) => answers,
        Err(RunFault::Failed(e) | RunFault::OutOfMemory(e)) if items.len() > 1 => {
            tracing::warn!(items = items.len(), error = %e, "a batch failed; its items are run one by one");
            items.iter().flat_map(|item| one_by_one(std::slice::from_ref(item), run)).collect()
        }
        Err(e) => fail(items, &e.to_string()),
    }
}

fn fail(items: &[&WorkItem], why: &str) -> Vec<Result<Output, ItemFault>> {
    items.iter().map(|_| Err(ItemFault::Run(why.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{Sequence, Want};

    #[test]
    fn only_the_item_that_spoils_a_batch_fails_and_a_lost_device_is_not_tried_again() {
        let item = |id| WorkItem { sequence: Sequence { ids: vec![id], ..Sequence::default() }, want: Want::Logits };
        let items: Vec<WorkItem> = (0..8).map(item).collect();
        let items: Vec<&WorkItem> = items.iter().collect();
        let answer = |item: &&WorkItem| Ok(Output::Logits(vec![item.sequence.ids[0] as f32]));
        for bad in 0..8 {
            let got = one_by_one(&items, &mut |part| {
                let spoilt = part.iter().any(|i| i.sequence.ids[0] == bad);
                if spoilt { Err(RunFault::Failed("no".into())) } else { Ok(part.iter().map(answer).collect()) }
            });
            for (i, given) in got.iter().enumerate() {
                match given {
                    Ok(Output::Logits(v)) => assert!(i as u32 != bad && v[0] == i as f32),
                    _ => assert_eq!(i as u32, bad),
                }
            }
            assert_eq!(got.len(), items.len());
        }
        let mut runs = 0;
        let got = one_by_one(&items, &mut |_| {
            runs += 1;
            Err(RunFault::DeviceLost("gone".into()))
        });
        assert!(runs == 1 && got.len() == 8 && got.iter().all(Result::is_err));
    }
}
