//! What our operators on the processor share: their inputs checked, one output that several tasks fill, and bodies that
//! cannot unwind into ONNX Runtime's threads, which would abort the process.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, Ordering},
};

use ort::{Error, Result, operator::ComputeContext};

/// Attribute of attention operators, ours and ONNX Runtime's: how many heads.
pub(crate) const NUM_HEADS: &str = "num_heads";

/// An output tensor that several tasks fill, each its own part.
pub(super) struct OutputRows<T = f32> {
    pub(super) at: *mut T,
    pub(super) len: usize,
}

// SAFETY: tasks write disjoint parts (see `write`), and the tensor outlives the loop that runs them.
#[expect(unsafe_code, reason = "tasks on ONNX Runtime's threads share the output")]
unsafe impl<T: Send> Sync for OutputRows<T> {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "tasks on ONNX Runtime's threads share the output")]
unsafe impl<T: Send> Send for OutputRows<T> {}

impl<T: Copy> OutputRows<T> {
    /// Copies `numbers` to place `start`.
    ///
    /// # Safety
    /// No other task may write or read that part.
    #[expect(unsafe_code, reason = "see the contract")]
    pub(super) unsafe fn write(&self, start: usize, numbers: &[T]) {
        assert!(start <= self.len && numbers.len() <= self.len - start, "a write past the output");
        // SAFETY: within bounds by the line above; disjoint by the contract.
        unsafe { std::ptr::copy_nonoverlapping(numbers.as_ptr(), self.at.add(start), numbers.len()) }
    }

    /// The `len` numbers from place `start` on, which are written before they are read.
    ///
    /// # Safety
    /// No other task may write or read that part.
    #[expect(unsafe_code, clippy::mut_from_ref, reason = "see the contract")]
    pub(super) unsafe fn part(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start <= self.len && len <= self.len - start, "a part past the output");
        // SAFETY: within bounds by the line above; disjoint by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(start), len) }
    }
}

pub(super) fn input(context: &ComputeContext, i: usize) -> Result<ort::value::ValueRef<'_>> {
    context.input(i)?.ok_or_else(|| Error::new(format!("input {i} is missing")))
}

pub(super) fn two(shape: &[i64]) -> Result<[usize; 2]> {
    match shape {
        &[a, b] if a >= 0 && b > 0 => Ok([a as usize, b as usize]),
        other => Err(Error::new(format!("expected a matrix, got shape {other:?}"))),
    }
}

/// Checks that sequence boundaries rise from 0 to the number of tokens.
pub(super) fn boundaries(cumulative: &[i32], tokens: usize) -> Result<Vec<usize>> {
    let bounds: Option<Vec<usize>> = cumulative.iter().map(|&c| usize::try_from(c).ok()).collect();
    match bounds {
        Some(b) if b.first() == Some(&0) && b.last() == Some(&tokens) && b.windows(2).all(|w| w[0] <= w[1]) => Ok(b),
        _ => Err(Error::new(format!("sequence boundaries do not cover {tokens} tokens"))),
    }
}

/// Runs `tasks` on ONNX Runtime's threads; a panic in one becomes an error.
pub(super) fn guarded(context: &ComputeContext, tasks: usize, body: impl Fn(usize) + Send + Sync) -> Result<()> {
    let panicked = AtomicBool::new(false);
    context.par_for(tasks, 0, |task| {
        if catch_unwind(AssertUnwindSafe(|| body(task))).is_err() {
            panicked.store(true, Ordering::Relaxed);
        }
    })?;
    if panicked.load(Ordering::Relaxed) { Err(Error::new("an operator panicked")) } else { Ok(()) }
}
