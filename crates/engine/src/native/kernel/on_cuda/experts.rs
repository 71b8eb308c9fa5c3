//! Layers of experts, by our own kernels.

use std::{ffi::c_void, marker::PhantomData, sync::Arc};

use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput},
    value::TensorElementType::{Float32, Int32},
};

use super::{
    super::gpu::CUDA_PROVIDER, DeviceTensor, EXPERTS, KernelNumber, OperatorGpu, ROUTED, attribute, failed, given,
    guarded, int, maybe, once, output, place_of, stream,
};
use crate::cuda::{ExpertsLaunch, GivenLaunch, KernelHandle, MOST_EXPERTS, PlacesLaunch, RouteLaunch};

/// Places of the inputs of [`ROUTED`].
pub(crate) mod routed_place {
    pub(crate) const X: usize = 0;
    pub(crate) const ROUTER: usize = 1;
    pub(crate) const BIAS: usize = 2;
}

/// Places of the inputs of [`EXPERTS`].
pub(crate) mod experts_place {
    pub(crate) const X: usize = 0;
    pub(crate) const UP: usize = 1;
    pub(crate) const DOWN: usize = 2;
    pub(crate) const SHARES: usize = 3;
    pub(crate) const ORDER: usize = 4;
    pub(crate) const STARTS: usize = 5;
}

/// Chooses experts for each token.
pub(super) struct CudaRouted<T> {
    gpu: Arc<OperatorGpu>,
    of: PhantomData<T>,
}

/// What a token's experts give.
pub(super) struct CudaExperts<T> {
    gpu: Arc<OperatorGpu>,
    of: PhantomData<T>,
}

impl<T> CudaRouted<T> {
    pub(super) fn new(gpu: &Arc<OperatorGpu>) -> Self {
        Self { gpu: Arc::clone(gpu), of: PhantomData }
    }
}

impl<T> CudaExperts<T> {
    pub(super) fn new(gpu: &Arc<OperatorGpu>) -> Self {
        Self { gpu: Arc::clone(gpu), of: PhantomData }
    }
}

/// Kernels of an operator, looked up when it first runs.
#[derive(Clone, Copy, Default)]
struct Handles([Option<KernelHandle>; 2]);

impl<T: KernelNumber> Operator for CudaRouted<T> {
    type Kernel<'attr> = CudaRoutedKernel<T>;

    fn name(&self) -> &str {
        ROUTED
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(CUDA_PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(T::TYPE), OperatorInput::required(Float32), OperatorInput::optional(Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [Int32, Float32, Int32, Int32].map(OperatorOutput::required)
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        let chosen = context.get::<i64>(attribute::CHOSEN).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        Ok(CudaRoutedKernel { handles: Handles::default(), gpu: Arc::clone(&self.gpu), chosen, of: PhantomData })
    }
}

pub(super) struct CudaRoutedKernel<T> {
    handles: Handles,
    gpu: Arc<OperatorGpu>,
    /// Experts that read a token.
    chosen: usize,
    of: PhantomData<T>,
}

impl<T: KernelNumber> Kernel for CudaRoutedKernel<T> {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        guarded(ROUTED, || {
            let (x, router) = (given::<T>(context, routed_place::X)?, given::<f32>(context, routed_place::ROUTER)?);
            let bias = maybe::<f32>(context, routed_place::BIAS)?;
            let ([rows, width], [experts, from]) = (x.matrix(ROUTED)?, router.matrix(ROUTED)?);
            let counted = (1..=experts).contains(&self.chosen) && experts <= MOST_EXPERTS;
            if from != width || !counted || bias.as_ref().is_some_and(|bias| bias.numbers() != experts) {
                return Err(Error::new(format!(
                    "{ROUTED}: {} of {experts} experts, {from} numbers each, do not fit rows of {width}",
                    self.chosen
                )));
            }
            let each = [rows, self.chosen];
            let chosen = output::<i32>(context, 0, each)?;
            let shares = output::<f32>(context, 1, each)?;
            let order = output::<i32>(context, 2, each)?;
            let starts = output::<i32>(context, 3, [1, experts + 1])?;
            let choice = RouteLaunch {
                x: x.at,
                router: router.at,
                bias: place_of(bias.as_ref()),
                chosen,
                shares,
                rows: int(rows)?,
                width: int(width)?,
                experts: int(experts)?,
                each: int(self.chosen)?,
            };
            let slots = int(rows * self.chosen)?;
            let places = PlacesLaunch { chosen: chosen.cast_const(), order, starts, slots, experts: int(experts)? };
            let kernels = self.gpu.kernels;
            let [route, put] = &mut self.handles.0;
            let (route, put) = (once(route, || kernels.route(T::ELEM))?, once(put, || kernels.places())?);
            let stream = stream(ROUTED, context)?;
            // SAFETY: tensors of this operator's provider lie on its device, of the sizes just checked, and live until
            // the stream is done with them, as for every kernel of ONNX Runtime.
            #[expect(unsafe_code, reason = "device memory is known by address alone")]
            unsafe {
                if rows > 0 {
                    kernels.choose(route, &choice, stream).map_err(|e| failed(&e))?;
                }
                kernels.order(put, &places, stream).map_err(|e| failed(&e))
            }
        })
    }
}

impl<T: KernelNumber> Operator for CudaExperts<T> {
    type Kernel<'attr> = CudaExpertsKernel<T>;

    fn name(&self) -> &str {
        EXPERTS
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(CUDA_PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [T::TYPE, T::TYPE, T::TYPE, Float32, Int32, Int32].map(OperatorInput::required)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [T::TYPE, T::TYPE, Float32].map(OperatorOutput::required)
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        let act = context.get::<i64>(attribute::ACT).ok_or_else(|| Error::new("Experts has no attribute act"))?;
        Ok(CudaExpertsKernel {
            handles: Handles::default(),
            gpu: Arc::clone(&self.gpu),
            act: int(usize::try_from(act).unwrap_or(usize::MAX))?,
            of: PhantomData,
        })
    }
}

pub(super) struct CudaExpertsKernel<T> {
    handles: Handles,
    gpu: Arc<OperatorGpu>,
    act: i32,
    of: PhantomData<T>,
}

/// Sizes of a layer of experts.
struct ExpertSizes {
    rows: usize,
    width: usize,
    inner: usize,
    experts: usize,
    chosen: usize,
}

impl ExpertSizes {
    fn of(x: &DeviceTensor, up: &DeviceTensor, down: &DeviceTensor, shares: &DeviceTensor) -> Result<Self> {
        let ([rows, width], [shared, chosen]) = (x.matrix(EXPERTS)?, shares.matrix(EXPERTS)?);
        match (&up.shape[..], &down.shape[..]) {
            (&[experts, from, inner], &[all, back, to])
                if experts == all && inner == back && from == width && to == width && shared == rows && inner > 0 =>
            {
                Ok(Self { rows, width, inner, experts, chosen })
            }
            _ => Err(Error::new(format!("{EXPERTS}: {:?}·{:?} over {:?} does not fit", up.shape, down.shape, x.shape))),
        }
    }
}

impl<T: KernelNumber> Kernel for CudaExpertsKernel<T> {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        guarded(EXPERTS, || {
            let part = |i| given::<T>(context, i);
            let (x, up, down) = (part(experts_place::X)?, part(experts_place::UP)?, part(experts_place::DOWN)?);
            let shares = given::<f32>(context, experts_place::SHARES)?;
            let whole = |i| given::<i32>(context, i);
            let (order, starts) = (whole(experts_place::ORDER)?, whole(experts_place::STARTS)?);
            let sizes = ExpertSizes::of(&x, &up, &down, &shares)?;
            let ExpertSizes { rows, width, inner, experts, chosen } = sizes;
            let slots = rows * chosen;
            if order.numbers() != slots || starts.numbers() != experts + 1 {
                return Err(Error::new(format!("{EXPERTS}: the order of {slots} slots does not fit")));
            }
            let y = output::<T>(context, 0, [rows, width])?;
            let between = output::<T>(context, 1, [slots, inner])?;
            let all_given = output::<f32>(context, 2, [slots, width])?;
            if rows == 0 {
                return Ok(());
            }
            let first = ExpertsLaunch {
                x: x.at,
                weight: up.at,
                order: order.at,
                starts: starts.at,
                shares: std::ptr::null(),
                y: between,
                inner: int(width)?,
                columns: int(inner)?,
                experts: int(experts)?,
                shared: int(chosen)?,
                act: self.act,
            };
            let second = ExpertsLaunch {
                x: between.cast_const(),
                weight: down.at,
                shares: shares.at,
                y: all_given,
                inner: int(inner)?,
                columns: int(width)?,
                shared: 1,
                ..first
            };
            let sum = GivenLaunch {
                given: all_given.cast_const(),
                y,
                numbers: i64::try_from(rows * width).unwrap_or(i64::MAX),
                width: int(width)?,
                each: int(chosen)?,
            };
            self.launch([&first, &second], &sum, slots, stream(EXPERTS, context)?)
        })
    }
}

impl<T: KernelNumber> CudaExpertsKernel<T> {
    fn launch(
        &mut self,
        products: [&ExpertsLaunch; 2],
        sum: &GivenLaunch,
        slots: usize,
        stream: *mut c_void,
    ) -> Result<()> {
        let kernels = self.gpu.kernels;
        let [product, add] = &mut self.handles.0;
        let product = once(product, || kernels.experts(T::ELEM))?;
        let add = once(add, || kernels.given(T::ELEM))?;
        // SAFETY: as for every kernel of ONNX Runtime, of the sizes just checked.
        #[expect(unsafe_code, reason = "device memory is known by address alone")]
        unsafe {
            for launch in products {
                kernels.multiply_experts(product, launch, slots, stream).map_err(|e| failed(&e))?;
            }
            kernels.add_up(add, sum, stream).map_err(|e| failed(&e))
        }
    }
}
