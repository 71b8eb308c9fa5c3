//! CUDA's packed attention, done on the processor for tests: the same inputs with the
//! same meaning, so that a graph written for CUDA can be run and compared without a GPU.
//!
//! Written from the operator's description, apart from our own kernel, and wary:
//! it refuses a `token_offset` that is not exactly what the operator wants, though
//! most of CUDA's kernels read no more of it than its shape.
//!
//! Either query (tokens × heads × 3 × size), —, —, bias (3 · heads · size; all queries, all
//! keys, all values), or query, key and value (each tokens × heads · size), —; then
//! token_offset (sequences × longest), cumulative (sequences + 1) → (tokens × heads · size).

use half::f16;
use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput},
    value::{PrimitiveTensorElementType, TensorElementType, TensorElementType::Int32},
};

use super::{
    PACKED_ATTENTION,
    operator::{NUM_HEADS, boundaries, input},
    reserve::Reserve,
    stand_in_cuda,
    stand_in_product::StandInProduct,
};

/// Adds the stand-in for both formats that CUDA has it in.
pub(super) fn add(domain: OperatorDomain) -> Result<OperatorDomain> {
    domain
        .add(StandInAttention::<f32>::new(TensorElementType::Float32))?
        .add(StandInAttention::<f16>::new(TensorElementType::Float16))?
        .add(StandInProduct::BiasGelu)?
        .add(StandInProduct::QueryKeyValue)?
        .add(Reserve { provider: None })
        .and_then(stand_in_cuda::add)
}

/// A format of numbers, with sums in f64.
pub(super) trait Number: PrimitiveTensorElementType + Copy + Send + Sync + std::fmt::Debug + 'static {
    fn up(self) -> f64;
    fn down(x: f64) -> Self;
}

impl Number for f32 {
    fn up(self) -> f64 {
        f64::from(self)
    }
    fn down(x: f64) -> Self {
        x as f32
    }
}

impl Number for f16 {
    fn up(self) -> f64 {
        self.to_f64()
    }
    fn down(x: f64) -> Self {
        f16::from_f64(x)
    }
}

struct StandInAttention<T> {
    elem: TensorElementType,
    of: std::marker::PhantomData<T>,
}

impl<T> StandInAttention<T> {
    fn new(elem: TensorElementType) -> Self {
        Self { elem, of: std::marker::PhantomData }
    }
}

impl<T: Number> Operator for StandInAttention<T> {
    type Kernel<'attr> = StandInAttentionKernel<T>;

    fn name(&self) -> &str {
        PACKED_ATTENTION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [
            OperatorInput::required(self.elem),
            OperatorInput::optional(self.elem),
            OperatorInput::optional(self.elem),
            OperatorInput::optional(self.elem),
            OperatorInput::required(Int32),
            OperatorInput::required(Int32),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(self.elem)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        let heads: i64 = context.get(NUM_HEADS).ok_or_else(|| Error::new("no num_heads"))?;
        Ok(StandInAttentionKernel { heads: heads as usize, of: std::marker::PhantomData })
    }
}

struct StandInAttentionKernel<T> {
    heads: usize,
    of: std::marker::PhantomData<T>,
}

impl<T: Number> Kernel for StandInAttentionKernel<T> {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        let (offset, cumulative) = (input(context, 4)?, input(context, 5)?);
        let Parts { tokens, size, numbers } = Parts::read::<T>(context, self.heads)?;
        let heads = self.heads;
        let (_, cumulative) = cumulative.try_extract_tensor::<i32>()?;
        let bounds = boundaries(cumulative, tokens)?;
        let (shape, offset) = offset.try_extract_tensor::<i32>()?;
        check_offset(&shape[..], offset, &bounds)?;

        let part =
            |t: usize, head: usize, which: usize, d: usize| numbers[((which * tokens + t) * heads + head) * size + d];
        let mut given = vec![0.0; tokens * heads * size];
        for rows in bounds.windows(2).map(|w| w[0]..w[1]) {
            for head in 0..heads {
                for i in rows.clone() {
                    let dot = |j| (0..size).map(|d| part(i, head, 0, d) * part(j, head, 1, d)).sum::<f64>();
                    let scores: Vec<f64> = rows.clone().map(|j| dot(j) / (size as f64).sqrt()).collect();
                    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let weights: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
                    let sum: f64 = weights.iter().sum();
                    for d in 0..size {
                        let value: f64 = rows.clone().zip(&weights).map(|(j, w)| w * part(j, head, 2, d)).sum();
                        given[(i * heads + head) * size + d] = value / sum;
                    }
                }
            }
        }
        let mut out = context.output(0, [tokens, heads * size])?.ok_or_else(|| Error::new("no output"))?;
        let (_, out) = out.try_extract_tensor_mut::<T>()?;
        out.iter_mut().zip(given).for_each(|(o, x)| *o = T::down(x));
        Ok(())
    }
}

/// Queries, then keys, then values: (3 × tokens × heads × size), bias added.
struct Parts {
    tokens: usize,
    size: usize,
    numbers: Vec<f64>,
}

impl Parts {
    fn read<T: Number>(context: &ComputeContext, heads: usize) -> Result<Self> {
        let query = input(context, 0)?;
        let (shape, query) = query.try_extract_tensor::<T>()?;
        let (key, value, bias) = (context.input(1)?, context.input(2)?, context.input(3)?);
        match (&shape[..], key, value, bias) {
            (&[tokens, n, 3, size], None, None, Some(bias)) if n as usize == heads => {
                let (tokens, size) = (tokens as usize, size as usize);
                let (_, bias) = bias.try_extract_tensor::<T>()?;
                if bias.len() != 3 * heads * size {
                    return Err(Error::new("the bias does not fit the query"));
                }
                let mut numbers = Vec::with_capacity(query.len());
                for which in 0..3 {
                    for t in 0..tokens {
                        for (head, d) in (0..heads).flat_map(|head| (0..size).map(move |d| (head, d))) {
                            let x = query[((t * heads + head) * 3 + which) * size + d];
                            numbers.push(x.up() + bias[(which * heads + head) * size + d].up());
                        }
                    }
                }
                Ok(Self { tokens, size, numbers })
            }
            (&[tokens, width], Some(key), Some(value), None) if (width as usize).is_multiple_of(heads) => {
                let (key, value) = (key.try_extract_tensor::<T>()?, value.try_extract_tensor::<T>()?);
                if key.0[..] != shape[..] || value.0[..] != shape[..] {
                    return Err(Error::new("key and value are not as large as the query"));
                }
                let numbers = [query, key.1, value.1].concat().into_iter().map(Number::up).collect();
                Ok(Self { tokens: tokens as usize, size: width as usize / heads, numbers })
            }
            (shape, key, ..) => {
                Err(Error::new(format!("a query of shape {shape:?}, a key: {}, do not go together", key.is_some())))
            }
        }
    }
}

/// Places of tokens first, in order, then every other place of the padded batch, in order.
fn check_offset(shape: &[i64], offset: &[i32], bounds: &[usize]) -> Result<()> {
    let &[sequences, longest] = shape else { return Err(Error::new("token_offset is no matrix")) };
    let longest = longest as usize;
    if sequences as usize != bounds.len() - 1 || bounds.windows(2).any(|w| w[1] - w[0] > longest) {
        return Err(Error::new(format!("token_offset of shape {shape:?} does not hold the sequences")));
    }
    let lengths: Vec<usize> = bounds.windows(2).map(|w| w[1] - w[0]).collect();
    let mut want = Vec::new();
    for (b, n) in lengths.iter().enumerate() {
        want.extend((0..*n).map(|s| (b * longest + s) as i32));
    }
    for (b, n) in lengths.iter().enumerate() {
        want.extend((*n..longest).map(|s| (b * longest + s) as i32));
    }
    if want == offset { Ok(()) } else { Err(Error::new("token_offset is not tokens first, then padding")) }
}
