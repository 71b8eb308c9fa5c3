//! The attention operator of graphs for the processor.

use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput},
    value::TensorElementType::{Float32, Int32},
};

use super::{
    attention::{Head, attention_head},
    operator::{NUM_HEADS, OutputRows, boundaries, guarded, input, two},
};

/// Name of the operator.
pub(crate) const ATTENTION: &str = "PackedAttention";
/// Its attribute: 1 where a fourth input says how many tokens of each sequence are seen.
pub(crate) const HAS_KEYS: &str = "has_keys";

/// (tokens × heads·3·size) f32, bias (heads·3·size) f32, cumulative (sequences + 1)
/// i32, and where [`HAS_KEYS`] is set keys (sequences) i32 → (tokens × heads·size) f32. See [`super::attention`].
pub(super) struct PackedAttention;

impl Operator for PackedAttention {
    type Kernel<'attr> = AttentionKernel;

    fn name(&self) -> &str {
        ATTENTION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [
            OperatorInput::required(Float32),
            OperatorInput::required(Float32),
            OperatorInput::required(Int32),
            OperatorInput::optional(Int32),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        let heads: i64 = context.get(NUM_HEADS).ok_or_else(|| Error::new("PackedAttention has no num_heads"))?;
        let heads =
            usize::try_from(heads).ok().filter(|&h| h > 0).ok_or_else(|| Error::new("num_heads is not above 0"))?;
        let has_keys = context.get::<i64>(HAS_KEYS) == Some(1);
        Ok(AttentionKernel { heads, has_keys })
    }
}

pub(super) struct AttentionKernel {
    heads: usize,
    has_keys: bool,
}

impl Kernel for AttentionKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        let heads = self.heads;
        let (qkv, bias, cumulative) = (input(context, 0)?, input(context, 1)?, input(context, 2)?);
        let (shape, qkv) = qkv.try_extract_tensor::<f32>()?;
        let (_, bias) = bias.try_extract_tensor::<f32>()?;
        let (_, cumulative) = cumulative.try_extract_tensor::<i32>()?;
        let [tokens, width] = two(shape)?;
        let size = width / (3 * heads);
        if size * 3 * heads != width || bias.len() != width {
            return Err(Error::new("PackedAttention: width is not heads x 3 x size"));
        }
        let bounds = boundaries(cumulative, tokens)?;
        let keys = if self.has_keys { Some(input(context, 3)?) } else { None };
        let keys = match &keys {
            Some(keys) => Some(seen(keys.try_extract_tensor::<i32>()?.1, &bounds)?),
            None => None,
        };
        let hidden = heads * size;
        let mut out = context.output(0, [tokens, hidden])?.ok_or_else(|| Error::new("PackedAttention: no output"))?;
        let (_, out) = out.try_extract_tensor_mut::<f32>()?;
        let out = OutputRows { at: out.as_mut_ptr(), len: out.len() };
        guarded(context, (bounds.len() - 1) * heads, |task| {
            let (sequence, head) = (task / heads, task % heads);
            let len = bounds[sequence + 1] - bounds[sequence];
            let keys = keys.as_ref().map_or(len, |keys| keys[sequence]);
            let head = Head { start: bounds[sequence], len, keys, head, heads, size };
            // SAFETY: each task writes the rows of its own sequence and the columns of its own head, and no other's.
            #[expect(unsafe_code, reason = "tasks write disjoint parts of one tensor")]
            attention_head(head, qkv, bias, &mut |token, numbers| unsafe {
                out.write(token * hidden + head.head * size, numbers);
            });
        })
    }
}

/// Checks how many tokens of each sequence are seen: at least one, where it has any.
fn seen(keys: &[i32], bounds: &[usize]) -> Result<Vec<usize>> {
    let lengths = bounds.windows(2).map(|w| w[1] - w[0]);
    let checked: Option<Vec<usize>> = keys
        .iter()
        .zip(lengths)
        .map(|(&n, len)| usize::try_from(n).ok().filter(|&n| n <= len && (n > 0 || len == 0)))
        .collect();
    match checked {
        Some(keys) if keys.len() + 1 == bounds.len() => Ok(keys),
        _ => Err(Error::new("PackedAttention: the numbers of tokens that are seen do not fit the sequences")),
    }
}
