//! What our operators on CUDA share.
//!
//! ONNX Runtime places them on its CUDA provider, hands them device memory and the stream its
//! own kernels run on. A session whose graph names one must be given their [`domain`](super::cuda_domain).

use std::ffi::c_void;

use half::f16;
use ort::{Error, Result, operator::ComputeContext};

use crate::cuda::{ALIGNED, ProductSizes};

/// ONNX Runtime's name for its CUDA provider.
pub(super) const CUDA_PROVIDER: &str = "CUDAExecutionProvider";

/// Whether a product of these sizes keeps every row of its matrices aligned.
pub(crate) fn takes(inner: usize, columns: usize) -> bool {
    [inner, columns].iter().all(|n| n % (ALIGNED / size_of::<f16>()) == 0)
}

/// Whether tensors lie as kernels of cublasLt want them.
pub(super) fn aligned(operator: &str, tensors: impl IntoIterator<Item = *const c_void>) -> Result<()> {
    let aligned = |p: *const c_void| !p.is_null() && p.addr().is_multiple_of(ALIGNED);
    if tensors.into_iter().all(aligned) {
        Ok(())
    } else {
        Err(Error::new(format!("{operator}: a tensor is not aligned")))
    }
}

/// The stream that ONNX Runtime's own kernels run on.
pub(super) fn stream(operator: &str, context: &ComputeContext) -> Result<*mut c_void> {
    // Without one it would run on CUDA's default stream, unordered with ONNX Runtime's own kernels.
    let stream = context.stream()?.ok_or_else(|| Error::new(format!("{operator}: no stream")))?;
    Ok(stream.as_ptr().cast())
}

/// The sizes of a product, from its operands' shapes.
pub(super) fn sizes(operator: &str, x: &[i64], weight: &[i64], bias: &[i64]) -> Result<ProductSizes, String> {
    match (x, weight, bias) {
        (&[rows, inner], &[from, columns], &[width])
            if from == inner && width == columns && [rows, inner, columns].iter().all(|&n| n > 0) =>
        {
            Ok(ProductSizes { rows: rows as usize, inner: inner as usize, columns: columns as usize })
        }
        _ => Err(format!("{operator}: {x:?}·{weight:?} + {bias:?} does not fit")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_must_fit() {
        assert_eq!(
            sizes("it", &[5, 64], &[64, 160], &[160]).unwrap(),
            ProductSizes { rows: 5, inner: 64, columns: 160 }
        );
        for (x, w, b) in [
            (&[5, 64][..], &[32, 160][..], &[160][..]),
            (&[5, 64], &[64, 160], &[64]),
            (&[5, 64, 1], &[64, 160], &[160]),
            (&[0, 64], &[64, 160], &[160]),
            (&[5, 64], &[64, 160], &[1, 160]),
        ] {
            assert!(sizes("it", x, w, b).is_err(), "{x:?} {w:?} {b:?}");
        }
    }

    #[test]
    fn rows_that_would_not_be_aligned_are_left_to_onnx_runtime() {
        assert!(takes(384, 1536) && takes(64, 160));
        assert!(!takes(384, 1532) && !takes(36, 64));
    }
}
