//! Runs batches of one model on one device.
//!
//! An [`Executor`] is made, used and dropped on one thread: `Session::run` takes
//! `&mut self`, and later device graphs are bound to their thread.

use crate::{
    error::LoadError,
    generic::GenericExecutor,
    item::{ItemFault, Output, WorkItem},
    model::{Model, Source},
    native::NativeExecutor,
};

/// A loaded session and what it needs to fill and read it.
#[derive(Debug)]
pub struct Executor(Inner);

#[derive(Debug)]
enum Inner {
    Native(Box<NativeExecutor>),
    Generic(Box<GenericExecutor>),
    #[cfg(feature = "timed")]
    Timed(crate::timed::TimedExecutor),
}

impl Executor {
    /// Loads `model` into a session of its own. Call it on the thread that will run it.
    ///
    /// # Errors
    /// When ONNX Runtime cannot be found or refuses the model.
    pub fn new(model: &Model) -> Result<Self, LoadError> {
        Ok(Self(match model.source() {
            Source::Native(native) => Inner::Native(Box::new(NativeExecutor::new(native, model.options())?)),
            Source::Generic(generic) => Inner::Generic(Box::new(GenericExecutor::new(generic, model.options())?)),
            #[cfg(feature = "timed")]
            Source::Timed(spec) => Inner::Timed(crate::timed::TimedExecutor::new(spec)),
        }))
    }

    /// Runs one batch; one answer an item, in order. Never panics, and a fault of
    /// one item never costs another its answer where the device got to run.
    pub fn run(&mut self, items: &[&WorkItem]) -> Vec<Result<Output, ItemFault>> {
        match &mut self.0 {
            Inner::Native(e) => e.run(items),
            Inner::Generic(e) => e.run(items),
            #[cfg(feature = "timed")]
            Inner::Timed(e) => e.run(items),
        }
    }
}
