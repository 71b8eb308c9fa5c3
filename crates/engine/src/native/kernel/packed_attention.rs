//! The attention operator of graphs for the processor.

use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput},
    value::{
        TensorElementType::{Float32, Int32},
        ValueRef,
    },
};

use super::{
    super::family::Sight,
    attention::{
        AttentionRules, ByDistance, Columns, HeadNorms, HeadQueries, RelativeVectors, Rotation, attend, narrow,
    },
    operator::{NUM_HEADS, OutputRows, boundaries, guarded, input, two},
};

/// Name of the operator.
pub(crate) const ATTENTION: &str = "PackedAttention";

/// Its attributes beside the number of heads; all but the scale may be left out.
pub(crate) mod attribute {
    /// Heads of keys and values; as many as of queries where it is missing.
    pub(crate) const KV_HEADS: &str = "kv_num_heads";
    /// What scores are multiplied by; `1/√size` where it is missing.
    pub(crate) const SCALE: &str = "scale";
    /// 1 where a query sees no key behind it.
    pub(crate) const CAUSAL: &str = "causal";
    /// How far away a key may be that is seen.
    pub(crate) const WINDOW: &str = "window";
    /// Epsilon of the norms of heads.
    pub(crate) const NORM_EPS: &str = "norm_eps";
    /// 1 where products are made in bf16, if the processor has a unit that makes them faster and nothing goes by distance.
    pub(crate) const NARROW: &str = "narrow";
}

/// Places of its inputs; those from [`KEYS`](place::KEYS) on may be left out.
pub(crate) mod place {
    /// (tokens × columns) f32 and (columns) f32: queries of the heads that share a key, that key, that value, group by group.
    pub(crate) const QKV: usize = 0;
    pub(crate) const BIAS: usize = 1;
    /// (sequences + 1) i32.
    pub(crate) const CUMULATIVE: usize = 2;
    /// (sequences) i32: how many tokens of each are seen.
    pub(crate) const KEYS: usize = 3;
    /// (2 × positions × size/2) f32: cosines, then sines.
    pub(crate) const ROTATION: usize = 4;
    /// (2 × size) f32: weights of the norms of queries and of keys.
    pub(crate) const NORMS: usize = 5;
    /// (heads × 2·reach + 1) f32.
    pub(crate) const BY_DISTANCE: usize = 6;
    /// (heads × size × width) f32 each, and (2·reach + 1) i32.
    pub(crate) const MET_BY_QUERIES: usize = 7;
    pub(crate) const MET_BY_KEYS: usize = 8;
    pub(crate) const COLUMNS: usize = 9;
    /// How many there are.
    pub(crate) const ALL: usize = 10;
}

/// Queries of a task: enough that loading its keys costs little, few enough that a long text keeps all cores busy.
const TASK_QUERIES: usize = 1024;

/// See [`attribute`] and [`place`] for what it takes; it gives (tokens × heads·size) f32. The arithmetic is in
/// [`super::attention`].
pub(super) struct PackedAttention;

impl Operator for PackedAttention {
    type Kernel<'attr> = AttentionKernel;

    fn name(&self) -> &str {
        ATTENTION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let kind = |i| if i == place::CUMULATIVE || i == place::KEYS || i == place::COLUMNS { Int32 } else { Float32 };
        (0..place::ALL).map(move |i| {
            if i < place::KEYS { OperatorInput::required(kind(i)) } else { OperatorInput::optional(kind(i)) }
        })
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        Ok(AttentionKernel(AttentionAttributes::read(context)?))
    }
}

/// What the attributes say.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttentionAttributes {
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) scale: Option<f32>,
    pub(super) sight: Sight,
    pub(super) norm_eps: f32,
    pub(super) narrow: bool,
}

impl AttentionAttributes {
    pub(super) fn read(context: &KernelContext<'_>) -> Result<Self> {
        let heads = context.get::<i64>(NUM_HEADS).ok_or_else(|| Error::new("PackedAttention has no num_heads"))?;
        let kv_heads = context.get::<i64>(attribute::KV_HEADS).unwrap_or(heads);
        let count = |n: i64| usize::try_from(n).ok().filter(|&n| n > 0);
        let (Some(heads), Some(kv_heads)) = (count(heads), count(kv_heads)) else {
            return Err(Error::new("PackedAttention: heads are not above 0"));
        };
        if heads % kv_heads != 0 {
            return Err(Error::new("PackedAttention: heads of queries are no multiple of those of keys"));
        }
        let sight = match (context.get::<i64>(attribute::CAUSAL), context.get::<i64>(attribute::WINDOW)) {
            (Some(1), None) => Sight::Causal,
            (None, Some(radius)) => Sight::Window(usize::try_from(radius).unwrap_or(usize::MAX)),
            _ => Sight::All,
        };
        Ok(Self {
            heads,
            kv_heads,
            scale: context.get(attribute::SCALE),
            sight,
            norm_eps: context.get(attribute::NORM_EPS).unwrap_or(0.0),
            narrow: context.get::<i64>(attribute::NARROW) == Some(1),
        })
    }
}

pub(super) struct AttentionKernel(AttentionAttributes);

impl Kernel for AttentionKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        let (qkv, bias, cumulative) =
            (input(context, place::QKV)?, input(context, place::BIAS)?, input(context, place::CUMULATIVE)?);
        let (shape, qkv) = qkv.try_extract_tensor::<f32>()?;
        let (_, bias) = bias.try_extract_tensor::<f32>()?;
        let (_, cumulative) = cumulative.try_extract_tensor::<i32>()?;
        let [tokens, width] = two(shape)?;
        let AttentionAttributes { heads, kv_heads, scale, sight, norm_eps, narrow: in_bf16 } = self.0;
        let columns = Columns { heads, kv_heads, size: width / (heads + 2 * kv_heads) };
        let size = columns.size;
        if columns.width() != width || bias.len() != width {
            return Err(Error::new("PackedAttention: width is not that of its heads"));
        }
        let bounds = boundaries(cumulative, tokens)?;
        let longest = bounds.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0);
        let keys = match context.input(place::KEYS)? {
            Some(keys) => Some(seen(keys.try_extract_tensor::<i32>()?.1, &bounds)?),
            None => None,
        };
        let values: Vec<Option<ValueRef<'_>>> = (0..place::ALL).map(|i| context.input(i)).collect::<Result<_>>()?;
        let table = |i: usize| -> Result<Option<&[f32]>> {
            values[i].as_ref().map(|value| Ok(value.try_extract_tensor::<f32>()?.1)).transpose()
        };
        let rules = AttentionRules {
            columns,
            scale: scale.unwrap_or_else(|| 1.0 / (size as f32).sqrt()),
            sight,
            norms: table(place::NORMS)?.map(|weights| norms(weights, size, norm_eps)).transpose()?,
            rotation: table(place::ROTATION)?.map(|numbers| rotation(numbers, size, longest)).transpose()?,
            by_distance: table(place::BY_DISTANCE)?.map(|numbers| by_distance(numbers, heads)).transpose()?,
            vectors: match &values[place::COLUMNS] {
                Some(numbers) => Some(vectors(
                    (table(place::MET_BY_QUERIES)?, table(place::MET_BY_KEYS)?),
                    numbers.try_extract_tensor::<i32>()?.1,
                    heads * size,
                )?),
                None => None,
            },
        };
        let unit = narrow::unit().filter(|_| in_bf16 && narrow::takes(&rules));
        let tasks = tasks(&bounds, keys.as_deref(), heads);
        let hidden = heads * size;
        let mut out = context.output(0, [tokens, hidden])?.ok_or_else(|| Error::new("PackedAttention: no output"))?;
        let (_, out) = out.try_extract_tensor_mut::<f32>()?;
        let out = OutputRows { at: out.as_mut_ptr(), len: out.len() };
        guarded(context, tasks.len(), |task| {
            let task = &tasks[task];
            // SAFETY: each task writes the rows of its own queries and the columns of its own head, and no other's.
            #[expect(unsafe_code, reason = "tasks write disjoint parts of one tensor")]
            let mut write = |token: usize, numbers: &[f32]| unsafe {
                out.write(token * hidden + task.head * size, numbers);
            };
            match unit {
                Some(unit) => narrow::attend(unit, task, &rules, qkv, bias, &mut write),
                None => attend(task, &rules, qkv, bias, &mut write),
            }
        })
    }
}

fn norms(weights: &[f32], size: usize, eps: f32) -> Result<HeadNorms<'_>> {
    if weights.len() != 2 * size {
        return Err(Error::new("PackedAttention: norms of heads are not of their size"));
    }
    let (query, key) = weights.split_at(size);
    Ok(HeadNorms { query, key, eps })
}

fn rotation(numbers: &[f32], size: usize, longest: usize) -> Result<Rotation<'_>> {
    let (cos, sin) = numbers.split_at(numbers.len() / 2);
    if !size.is_multiple_of(2) || cos.len() != sin.len() || cos.len() < longest * (size / 2) {
        return Err(Error::new(format!("PackedAttention: rotations do not reach {longest} tokens")));
    }
    Ok(Rotation { cos, sin })
}

fn by_distance(table: &[f32], heads: usize) -> Result<ByDistance<'_>> {
    let each = table.len() / heads;
    if each * heads != table.len() || each.is_multiple_of(2) {
        return Err(Error::new("PackedAttention: a table of distances is not one row a head"));
    }
    Ok(ByDistance { table, reach: each / 2 })
}

fn vectors<'a>(
    (keys, queries): (Option<&'a [f32]>, Option<&'a [f32]>),
    columns: &'a [i32],
    rows: usize,
) -> Result<RelativeVectors<'a>> {
    let (keys, queries) = (keys.unwrap_or_default(), queries.unwrap_or_default());
    let width = keys.len().max(queries.len()) / rows;
    let whole = |table: &[f32]| table.is_empty() || table.len() == rows * width;
    let rising = columns.windows(2).all(|w| w[0] <= w[1]);
    let within = columns.iter().all(|&c| usize::try_from(c).is_ok_and(|c| c < width));
    if !whole(keys) || !whole(queries) || columns.len().is_multiple_of(2) || !rising || !within {
        return Err(Error::new("PackedAttention: vectors of distances do not fit their columns"));
    }
    Ok(RelativeVectors { keys, queries, width, columns })
}

/// One task a sequence and head; of long sequences one for some of its queries.
pub(super) fn tasks(bounds: &[usize], keys: Option<&[usize]>, heads: usize) -> Vec<HeadQueries> {
    let mut tasks = Vec::with_capacity((bounds.len() - 1) * heads);
    for (sequence, bound) in bounds.windows(2).enumerate() {
        let (start, len) = (bound[0], bound[1] - bound[0]);
        let keys = keys.map_or(len, |keys| keys[sequence]);
        for head in 0..heads {
            for first in (0..len).step_by(TASK_QUERIES) {
                tasks.push(HeadQueries { start, queries: first..len.min(first + TASK_QUERIES), keys, head });
            }
        }
    }
    tasks
}

/// Checks how many tokens of each sequence are seen: at least one, where it has any.
pub(super) fn seen(keys: &[i32], bounds: &[usize]) -> Result<Vec<usize>> {
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
