//! Layers of experts as [`super::on_cuda`] has them, done on the processor for tests; in f64, rounded once a product.

use std::marker::PhantomData;

use ort::{
    Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput},
    value::TensorElementType::{Float32, Int32},
};

use super::{
    on_cuda::{EXPERTS, KernelNumber, ROUTED, attribute, experts_place, routed_place},
    stand_in::Number,
    stand_in_cuda::{activated, give, ints, must, read},
};

/// Adds both, in one format.
pub(super) fn add<T: Number + KernelNumber>(domain: OperatorDomain) -> Result<OperatorDomain> {
    domain.add(StandInRouted::<T>(PhantomData))?.add(StandInExperts::<T>(PhantomData))
}

struct StandInRouted<T>(PhantomData<T>);
struct StandInRoutedKernel<T> {
    chosen: usize,
    of: PhantomData<T>,
}

impl<T: Number + KernelNumber> Operator for StandInRouted<T> {
    type Kernel<'attr> = StandInRoutedKernel<T>;

    fn name(&self) -> &str {
        ROUTED
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(T::TYPE), OperatorInput::required(Float32), OperatorInput::optional(Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [Int32, Float32, Int32, Int32].map(OperatorOutput::required)
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        let chosen = context.get::<i64>(attribute::CHOSEN).unwrap_or(0) as usize;
        Ok(StandInRoutedKernel { chosen, of: PhantomData })
    }
}

impl<T: Number + KernelNumber> Kernel for StandInRoutedKernel<T> {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        let (x, router) = (must::<T>(context, routed_place::X)?, must::<f32>(context, routed_place::ROUTER)?);
        let bias = read::<f32>(context, routed_place::BIAS)?;
        let (rows, width, experts) = (x.shape[0], x.shape[1], router.shape[0]);
        let (mut chosen, mut shares) = (Vec::new(), Vec::new());
        for row in x.data.chunks_exact(width) {
            let logit = |e: usize| {
                let dot: f64 = router.data[e * width..][..width].iter().zip(row).map(|(a, b)| a * b).sum();
                dot + bias.as_ref().map_or(0.0, |bias| bias.data[e])
            };
            let weights: Vec<f64> = (0..experts).map(|e| logit(e).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let mut order: Vec<usize> = (0..experts).collect();
            order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
            order.truncate(self.chosen);
            order.sort_unstable();
            chosen.extend(order.iter().map(|&e| e as i32));
            shares.extend(order.iter().map(|&e| weights[e] / sum));
        }
        let mut slots: Vec<usize> = (0..chosen.len()).collect();
        slots.sort_by_key(|&slot| chosen[slot]);
        let begins = |e: usize| chosen.iter().filter(|&&of| (of as usize) < e).count() as i32;
        give::<f32>(context, 1, [rows, self.chosen], &shares)?;
        give_ints(context, 0, [rows, self.chosen], &chosen)?;
        give_ints(context, 2, [rows, self.chosen], &slots.iter().map(|&slot| slot as i32).collect::<Vec<_>>())?;
        give_ints(context, 3, [1, experts + 1], &(0..=experts).map(begins).collect::<Vec<_>>())
    }
}

fn give_ints(context: &ComputeContext, i: usize, shape: [usize; 2], numbers: &[i32]) -> Result<()> {
    let mut out = context.output(i, shape)?.ok_or_else(|| ort::Error::new("no output"))?;
    out.try_extract_tensor_mut::<i32>()?.1.copy_from_slice(numbers);
    Ok(())
}

struct StandInExperts<T>(PhantomData<T>);
struct StandInExpertsKernel<T> {
    act: i64,
    of: PhantomData<T>,
}

impl<T: Number + KernelNumber> Operator for StandInExperts<T> {
    type Kernel<'attr> = StandInExpertsKernel<T>;

    fn name(&self) -> &str {
        EXPERTS
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [T::TYPE, T::TYPE, T::TYPE, Float32, Int32, Int32].map(OperatorInput::required)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [T::TYPE, T::TYPE, Float32].map(OperatorOutput::required)
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        Ok(StandInExpertsKernel { act: context.get(attribute::ACT).unwrap_or(-1), of: PhantomData })
    }
}

impl<T: Number + KernelNumber> Kernel for StandInExpertsKernel<T> {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        let part = |i| must::<T>(context, i);
        let (x, up, down) = (part(experts_place::X)?, part(experts_place::UP)?, part(experts_place::DOWN)?);
        let shares = must::<f32>(context, experts_place::SHARES)?;
        let order = ints(context, experts_place::ORDER)?.unwrap_or_default();
        let starts = ints(context, experts_place::STARTS)?.unwrap_or_default();
        let (rows, width, inner, each) = (x.shape[0], x.shape[1], up.shape[2], shares.shape[1]);
        let (mut between, mut given) = (vec![0.0; order.len() * inner], vec![0.0; order.len() * width]);
        for e in 0..up.shape[0] {
            for &slot in &order[starts[e] as usize..starts[e + 1] as usize] {
                let slot = slot as usize;
                let row = &x.data[slot / each * width..][..width];
                let state = &mut between[slot * inner..][..inner];
                for (x, weights) in row.iter().zip(up.data[e * width * inner..].chunks_exact(inner)) {
                    state.iter_mut().zip(weights).for_each(|(s, w)| *s += x * w);
                }
                state.iter_mut().for_each(|s| *s = T::down(activated(self.act, *s)).up());
                let out = &mut given[slot * width..][..width];
                for (x, weights) in state.iter().zip(down.data[e * inner * width..].chunks_exact(width)) {
                    out.iter_mut().zip(weights).for_each(|(o, w)| *o += x * w * shares.data[slot]);
                }
            }
        }
        let mut y = vec![0.0; rows * width];
        for (slot, out) in given.chunks_exact(width).enumerate() {
            y[slot / each * width..][..width].iter_mut().zip(out).for_each(|(y, x)| *y += x);
        }
        give::<T>(context, 1, [order.len(), inner], &between)?;
        give::<f32>(context, 2, [order.len(), width], &given)?;
        give::<T>(context, 0, [rows, width], &y)
    }
}
