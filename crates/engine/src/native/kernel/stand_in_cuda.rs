//! Our operators on CUDA, done on the processor for tests: same names, inputs and meaning as [`super::on_cuda`]'s, so that a
//! graph written for CUDA can be run and compared without a GPU. Written from their description, in f64, rounded once.

use half::{bf16, f16};
use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput},
    value::{
        TensorElementType,
        TensorElementType::{Float32, Int32},
    },
};

use super::{
    super::family::Sight,
    on_cuda::{
        DEVICE_ATTENTION, FINISHED_HEADS, GATE, KernelNumber, PRODUCT, WIDE_PRODUCT, add_norm, attribute, norm_code,
        norm_place,
    },
    operator::boundaries,
    packed_attention::{AttentionAttributes, place},
    stand_in::Number,
    stand_in_experts,
};

/// Adds a stand-in for each, in every format.
pub(super) fn add(domain: OperatorDomain) -> Result<OperatorDomain> {
    let domain = add_format::<f16>(domain)?;
    let domain = add_format::<bf16>(domain)?;
    add_format::<f32>(domain)
}

fn add_format<T: Number + KernelNumber>(mut domain: OperatorDomain) -> Result<OperatorDomain> {
    for kind in [
        StandInKind::Product,
        StandInKind::WideProduct,
        StandInKind::Attention,
        StandInKind::Heads,
        StandInKind::AddNorm,
        StandInKind::Gate,
    ] {
        if T::TYPE != Float32 || !matches!(kind, StandInKind::WideProduct) {
            domain = domain.add(CudaStandIn::<T> { kind, of: std::marker::PhantomData })?;
        }
    }
    stand_in_experts::add::<T>(domain)
}

#[derive(Clone, Copy)]
enum StandInKind {
    Product,
    WideProduct,
    Attention,
    Heads,
    AddNorm,
    Gate,
}

struct CudaStandIn<T> {
    kind: StandInKind,
    of: std::marker::PhantomData<T>,
}

impl<T: Number + KernelNumber> Operator for CudaStandIn<T> {
    type Kernel<'attr> = StandInKernel<T>;

    fn name(&self) -> &str {
        match self.kind {
            StandInKind::Product => PRODUCT,
            StandInKind::WideProduct => WIDE_PRODUCT,
            StandInKind::Attention => DEVICE_ATTENTION,
            StandInKind::Heads => FINISHED_HEADS,
            StandInKind::AddNorm => add_norm(T::ELEM),
            StandInKind::Gate => GATE,
        }
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        use OperatorInput as In;
        let t = T::TYPE;
        match self.kind {
            StandInKind::Product => vec![In::required(t), In::required(t), In::optional(t)],
            StandInKind::WideProduct => vec![In::required(t), In::required(t), In::optional(Float32)],
            StandInKind::Attention => (0..place::ALL)
                .map(|i| match i {
                    place::QKV => In::required(t),
                    place::CUMULATIVE => In::required(Int32),
                    place::KEYS | place::COLUMNS => In::optional(Int32),
                    place::BIAS | place::MET_BY_QUERIES | place::MET_BY_KEYS => In::optional(t),
                    _ => In::optional(Float32),
                })
                .collect(),
            StandInKind::Heads => {
                vec![In::required(t), In::required(Int32), In::optional(Float32), In::optional(Float32)]
            }
            StandInKind::AddNorm => (0..norm_place::ALL)
                .map(|i| if i == norm_place::SUM { In::required(Float32) } else { In::optional(Float32) })
                .collect(),
            StandInKind::Gate => vec![In::required(t)],
        }
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        let out = |t: TensorElementType| OperatorOutput::required(t);
        match self.kind {
            StandInKind::WideProduct => vec![out(Float32)],
            StandInKind::AddNorm => vec![out(Float32), out(T::TYPE)],
            _ => vec![out(T::TYPE)],
        }
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        let int = |name| context.get::<i64>(name).unwrap_or(0);
        let float = |name, or| f64::from(context.get::<f32>(name).unwrap_or(or));
        Ok(StandInKernel {
            kind: self.kind,
            factor: float(attribute::FACTOR, 1.0),
            turned: int(attribute::TURNED) == 1,
            act: int(attribute::ACT),
            gated: int(attribute::GATED) == 1,
            norms: [
                (int(attribute::KIND), float(attribute::EPS, 0.0)),
                (int(attribute::GIVEN_KIND), float(attribute::GIVEN_EPS, 0.0)),
            ],
            heads: match self.kind {
                StandInKind::Attention | StandInKind::Heads => Some(AttentionAttributes::read(context)?),
                _ => None,
            },
            of: std::marker::PhantomData,
        })
    }
}

struct StandInKernel<T> {
    kind: StandInKind,
    factor: f64,
    turned: bool,
    act: i64,
    gated: bool,
    /// StandInKind and epsilon, of the sum and of what is given.
    norms: [(i64, f64); 2],
    heads: Option<AttentionAttributes>,
    of: std::marker::PhantomData<T>,
}

/// A tensor in f64.
pub(super) struct Numbers {
    pub(super) shape: Vec<usize>,
    pub(super) data: Vec<f64>,
}

pub(super) fn read<T: Number>(context: &ComputeContext, i: usize) -> Result<Option<Numbers>> {
    let Some(value) = context.input(i)? else { return Ok(None) };
    let (shape, data) = value.try_extract_tensor::<T>()?;
    Ok(Some(Numbers {
        shape: shape.iter().map(|&n| n as usize).collect(),
        data: data.iter().map(|x| x.up()).collect(),
    }))
}

pub(super) fn must<T: Number>(context: &ComputeContext, i: usize) -> Result<Numbers> {
    read::<T>(context, i)?.ok_or_else(|| Error::new(format!("input {i} is missing")))
}

pub(super) fn ints(context: &ComputeContext, i: usize) -> Result<Option<Vec<i32>>> {
    let Some(value) = context.input(i)? else { return Ok(None) };
    Ok(Some(value.try_extract_tensor::<i32>()?.1.to_vec()))
}

pub(super) fn give<T: Number>(context: &ComputeContext, i: usize, shape: [usize; 2], numbers: &[f64]) -> Result<()> {
    let mut out = context.output(i, shape)?.ok_or_else(|| Error::new("no output"))?;
    let (_, out) = out.try_extract_tensor_mut::<T>()?;
    assert_eq!(out.len(), numbers.len());
    out.iter_mut().zip(numbers).for_each(|(o, &x)| *o = T::down(x));
    Ok(())
}

impl<T: Number + KernelNumber> Kernel for StandInKernel<T> {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        match self.kind {
            StandInKind::Product => self.product::<T>(context),
            StandInKind::WideProduct => self.product::<f32>(context),
            StandInKind::Attention => self.attention(context),
            StandInKind::Heads => self.finish_heads(context),
            StandInKind::AddNorm => self.add_norm(context),
            StandInKind::Gate => self.gate(context),
        }
    }
}

impl<T: Number + KernelNumber> StandInKernel<T> {
    fn product<Out: Number>(&self, context: &ComputeContext) -> Result<()> {
        let (x, weight, bias) = (must::<T>(context, 0)?, must::<T>(context, 1)?, read::<Out>(context, 2)?);
        let mut weight = weight;
        if self.turned {
            let (rows, width) = (weight.shape[0], weight.shape[1]);
            let data = (0..width).flat_map(|c| (0..rows).map(move |r| r * width + c)).map(|i| weight.data[i]).collect();
            weight = Numbers { shape: vec![width, rows], data };
        }
        let (inner, columns) = (weight.shape[0], weight.shape[1]);
        if x.shape[1] != inner {
            return Err(Error::new(format!("{:?}·{:?} does not fit", x.shape, weight.shape)));
        }
        let mut y = Vec::with_capacity(x.shape[0] * columns);
        for row in x.data.chunks_exact(inner) {
            let mut sums = vec![0.0; columns];
            for (x, weights) in row.iter().zip(weight.data.chunks_exact(columns)) {
                sums.iter_mut().zip(weights).for_each(|(s, w)| *s += x * w);
            }
            y.extend(sums.iter().enumerate().map(|(c, s)| s * self.factor + bias.as_ref().map_or(0.0, |b| b.data[c])));
        }
        give::<Out>(context, 0, [x.shape[0], columns], &y)
    }

    fn gate(&self, context: &ComputeContext) -> Result<()> {
        let x = must::<T>(context, 0)?;
        let width = if self.gated { x.shape[1] / 2 } else { x.shape[1] };
        let mut y = Vec::new();
        for row in x.data.chunks_exact(x.shape[1]) {
            y.extend(
                (0..width)
                    .map(|c| activated(self.act, row[c]) * if self.gated { row[width + c] } else { 1.0 } * self.factor),
            );
        }
        give::<T>(context, 0, [x.shape[0], width], &y)
    }

    fn add_norm(&self, context: &ComputeContext) -> Result<()> {
        let sum = must::<f32>(context, norm_place::SUM)?;
        let (rows, width) = (sum.shape[0], sum.shape[1]);
        let part = |i| read::<f32>(context, i);
        let given = part(norm_place::GIVEN)?;
        let weights = [
            (part(norm_place::GAMMA)?, part(norm_place::BETA)?),
            (part(norm_place::GIVEN_GAMMA)?, part(norm_place::GIVEN_BETA)?),
        ];
        let norm = |row: &mut [f64], which: usize| {
            let (kind, eps) = self.norms[which];
            let (gamma, beta) = &weights[which];
            assert_eq!(kind == norm_code::NOTHING, gamma.is_none());
            let Some(gamma) = gamma else { return };
            let count = row.len() as f64;
            let mean = if kind == norm_code::LAYER { row.iter().sum::<f64>() / count } else { 0.0 };
            let share = 1.0 / (row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count + eps).sqrt();
            for (i, x) in row.iter_mut().enumerate() {
                *x = (*x - mean) * share * gamma.data[i] + beta.as_ref().map_or(0.0, |b| b.data[i]);
            }
        };
        let (mut sums, mut reads) = (Vec::new(), Vec::new());
        for r in 0..rows {
            let mut row = given.as_ref().map_or(vec![0.0; width], |g| g.data[r * width..][..width].to_vec());
            norm(&mut row, 1);
            row.iter_mut().zip(&sum.data[r * width..]).for_each(|(x, s)| *x += s);
            sums.extend_from_slice(&row);
            norm(&mut row, 0);
            reads.extend(row);
        }
        give::<f32>(context, 0, [rows, width], &sums)?;
        give::<T>(context, 1, [rows, width], &reads)
    }

    fn finish_heads(&self, context: &ComputeContext) -> Result<()> {
        let Some(AttentionAttributes { heads, kv_heads, norm_eps, .. }) = self.heads else { return Ok(()) };
        let mut x = must::<T>(context, 0)?;
        let (rotation, norms) = (read::<f32>(context, 2)?, read::<f32>(context, 3)?);
        let (tokens, width) = (x.shape[0], x.shape[1]);
        let (size, each) = (width / (heads + 2 * kv_heads), heads / kv_heads);
        let bounds = boundaries(&ints(context, 1)?.unwrap_or_default(), tokens)?;
        for range in bounds.windows(2) {
            for place in 0..range[1] - range[0] {
                for slot in (0..heads + 2 * kv_heads).filter(|slot| slot % (each + 2) != each + 1) {
                    let head = &mut x.data[(range[0] + place) * width + slot * size..][..size];
                    if let Some(norms) = &norms {
                        let weights = &norms.data[if slot % (each + 2) == each { size } else { 0 }..][..size];
                        let square = head.iter().map(|x| x * x).sum::<f64>() / size as f64;
                        let share = 1.0 / (square + f64::from(norm_eps)).sqrt();
                        head.iter_mut().zip(weights).for_each(|(x, w)| *x *= share * w);
                    }
                    if let Some(table) = &rotation {
                        let (half, positions) = (size / 2, table.data.len() / size);
                        for m in 0..half {
                            let (c, s) = (table.data[place * half + m], table.data[(positions + place) * half + m]);
                            let (a, b) = (head[m], head[m + half]);
                            (head[m], head[m + half]) = (a * c - b * s, b * c + a * s);
                        }
                    }
                }
            }
        }
        give::<T>(context, 0, [tokens, width], &x.data)
    }

    fn attention(&self, context: &ComputeContext) -> Result<()> {
        let Some(AttentionAttributes { heads, kv_heads, scale, sight, .. }) = self.heads else { return Ok(()) };
        for i in [place::BIAS, place::ROTATION, place::NORMS] {
            assert!(context.input(i)?.is_none(), "input {i} is not this operator's");
        }
        let x = must::<T>(context, place::QKV)?;
        let (tokens, width) = (x.shape[0], x.shape[1]);
        let (size, each) = (width / (heads + 2 * kv_heads), heads / kv_heads);
        let bounds = boundaries(&ints(context, place::CUMULATIVE)?.unwrap_or_default(), tokens)?;
        let (keys, columns) = (ints(context, place::KEYS)?, ints(context, place::COLUMNS)?);
        let numbers = read::<f32>(context, place::BY_DISTANCE)?;
        let vectors = [read::<T>(context, place::MET_BY_QUERIES)?, read::<T>(context, place::MET_BY_KEYS)?];
        let scale = scale.map_or_else(|| 1.0 / (size as f64).sqrt(), f64::from);
        let mut out = vec![0.0; tokens * heads * size];
        for (sequence, range) in bounds.windows(2).enumerate() {
            let (start, length) = (range[0], range[1] - range[0]);
            let seen = keys.as_ref().map_or(length, |keys| keys[sequence] as usize);
            for head in 0..heads {
                let group = (head / each) * (each + 2) * size;
                let part = |token: usize, at: usize| &x.data[(start + token) * width + at..][..size];
                let (query_at, key_at) = (group + head % each * size, group + each * size);
                for i in 0..length {
                    let visible = |j: usize| {
                        j < seen
                            && match sight {
                                Sight::All => true,
                                Sight::Causal => j <= i,
                                Sight::Window(radius) => i.abs_diff(j) <= radius,
                            }
                    };
                    let js: Vec<usize> = (0..length).filter(|&j| visible(j)).collect();
                    let score = |&j: &usize| {
                        let (query, key) = (part(i, query_at), part(j, key_at));
                        let mut score = dot(query, key);
                        let behind = j as i64 - i as i64;
                        if let Some(columns) = &columns {
                            let reach = (columns.len() / 2) as i64;
                            let column = columns[(behind.clamp(-reach, reach) + reach) as usize] as usize;
                            for (table, with) in vectors.iter().zip([query, key]) {
                                if let Some(table) = table {
                                    let count = table.data.len() / (heads * size);
                                    score += dot(with, &table.data[(head * count + column) * size..][..size]);
                                }
                            }
                        }
                        score *= scale;
                        if let Some(numbers) = &numbers {
                            let row = numbers.data.len() / heads;
                            let reach = (row / 2) as i64;
                            score += numbers.data[head * row + (behind.clamp(-reach, reach) + reach) as usize];
                        }
                        score
                    };
                    let scores: Vec<f64> = js.iter().map(score).collect();
                    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let weights: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
                    let sum: f64 = weights.iter().sum();
                    for (j, weight) in js.iter().zip(&weights) {
                        let value = part(*j, key_at + size);
                        let out = &mut out[((start + i) * heads + head) * size..][..size];
                        out.iter_mut().zip(value).for_each(|(o, v)| *o += weight / sum * v);
                    }
                }
            }
        }
        give::<T>(context, 0, [tokens, heads * size], &out)
    }
}

/// An activation by its number.
pub(super) fn activated(act: i64, x: f64) -> f64 {
    match act {
        0 => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        1 => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()),
        2 => x.max(0.0),
        3 => x / (1.0 + (-x).exp()),
        _ => x.tanh(),
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The error function, by its series near zero and a continued fraction farther off.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    let positive = if a < 2.5 {
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term.abs() > 1e-17 * sum.abs() && n < 200.0 {
            n += 1.0;
            term *= -a * a / n;
            sum += term / (2.0 * n + 1.0);
        }
        2.0 / std::f64::consts::PI.sqrt() * sum
    } else {
        let mut fraction = 0.0;
        for k in (1..80).rev() {
            fraction = f64::from(k) / 2.0 / (a + fraction);
        }
        1.0 - (-a * a).exp() / (std::f64::consts::PI.sqrt() * (a + fraction))
    };
    if x < 0.0 { -positive } else { positive }
}

impl Number for bf16 {
    fn up(self) -> f64 {
        self.to_f64()
    }
    fn down(x: f64) -> Self {
        bf16::from_f64(x)
    }
}
