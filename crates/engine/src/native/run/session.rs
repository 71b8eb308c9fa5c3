//! From a model to a loaded session: graph written, weights handed over.

use std::sync::{Arc, Weak};

use ort::session::Session;
use sortie_gemm::WeightFormat;

use super::{
    super::{
        NativeModel,
        calibration::Calibration,
        family::Pointwise,
        graph::{
            self,
            names::{PICKED, POOLED, input},
        },
        kernel::{cuda_domain, takes_product, takes_query_key_value},
    },
    buckets::Grid,
    commit::{WrittenGraph, commit},
    host::{NativeHost, Outputs},
    inputs::INPUTS,
    packing::Bounds,
};
use crate::{
    cuda::{self, CudaError, Epilogue, FEW_ROWS, Formats, Kernels, Memory, ProductSizes, Products, TOGETHER},
    device::Device,
    error::LoadError,
    onnx::{Builder, Elem, Initializer, KeptWeights, ModelProto, SortieOperators, Target},
    options::{Gelu, LoadOptions},
    runtime::session::{Ready, refused},
};

/// What a graph is written with besides its target.
#[derive(Debug, Default)]
pub(crate) struct SessionShape {
    /// Operators of ours on the GPU.
    pub(crate) own: SortieOperators,
    /// What is known of the activations, for rounding.
    pub(crate) facts: Option<Arc<Calibration>>,
    /// Format of products by operators that keep their weights; `None`: the graph's.
    pub(crate) kept: Option<WeightFormat>,
}

impl PartialEq for SessionShape {
    /// A run for calibration is done once a model.
    fn eq(&self, other: &Self) -> bool {
        let facts = match (&self.facts, &other.facts) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        (self.own, self.kept) == (other.own, other.kept) && facts
    }
}

/// Writes the graph of `model` for `target`. Returns it, its weights, the width of an output row, and the weights that live in
/// operators.
pub(crate) fn write(
    model: &NativeModel,
    target: Target,
    form: &SessionShape,
) -> Result<(ModelProto, Vec<Initializer>, usize, KeptWeights), LoadError> {
    let mut b = Builder::new(target).with(form.own).keeping(form.kept);
    let wanted = graph::wanted(&model.encoder, model.head);
    let hidden = graph::encoder(&mut b, &model.encoder, &model.weights, wanted, form.facts.as_deref())?;
    let width = graph::head(
        &mut b,
        &model.encoder,
        &model.weights,
        (model.head, model.tagger.as_ref()),
        model.pooling,
        &hidden,
    )?;
    let kept = b.take_kept();
    let (proto, weights) = b.finish();
    Ok((proto, weights, width, kept))
}

/// A written graph, and what it was written for. Sessions alone keep it alive: the host's copy of the weights goes with the
/// last of them.
#[derive(Debug)]
pub(crate) struct SharedGraph {
    target: Target,
    form: SessionShape,
    graph: Weak<NativeGraph>,
}

/// A native model's graph.
#[derive(Debug)]
pub(crate) struct NativeGraph {
    written: WrittenGraph,
    /// Numbers in an output row.
    width: usize,
}

/// The graph of `model` for `target`: written once for all sessions that want the same one, others wait for the first. Weights
/// are read, converted and rounded no oftener.
fn shared(model: &NativeModel, target: Target, form: SessionShape) -> Result<Arc<NativeGraph>, LoadError> {
    let mut known = model.graph.lock();
    if let Some(there) = &*known
        && (there.target, &there.form) == (target, &form)
        && let Some(graph) = there.graph.upgrade()
    {
        return Ok(graph);
    }
    let (proto, weights, width, kept) = write(model, target, &form)?;
    let written = WrittenGraph::new(&proto, weights).map_err(refused(&model.folder))?.with(kept);
    let graph = Arc::new(NativeGraph { written, width });
    *known = Some(SharedGraph { target, form, graph: Arc::downgrade(&graph) });
    Ok(graph)
}

/// What is known of the activations, where the target rounds by it.
fn facts(model: &NativeModel, target: Target, options: &LoadOptions) -> Option<Arc<Calibration>> {
    if target.elem() != Elem::F16 || !options.cuda.calibrate || model.encoder.plain_feed_forward().is_none() {
        return None;
    }
    let warn = |error: &LoadError| {
        tracing::warn!(%error, "no run for calibration; weights are rounded one by one, GELU is exact");
    };
    model.calibration(options).inspect_err(warn).ok()
}

/// Operators of ours that run on a device, and what they run on.
type DeviceOperators = (SortieOperators, Option<(Products, Option<Kernels>)>);

/// Which operators of ours run here, and what they run on. `known`: something is known of the activations.
fn own(
    model: &NativeModel,
    target: Target,
    ready: &Ready,
    options: &LoadOptions,
    known: bool,
) -> Result<DeviceOperators, CudaError> {
    let none = SortieOperators::default();
    let needs = model.needs_kernels();
    let wants = needs || options.cuda.kernels;
    if target.elem() != Elem::F16 && !wants {
        return Ok((none, None));
    }
    let hidden = model.encoder.hidden;
    let plain = model.encoder.plain_feed_forward();
    let inner = plain.map_or(0, |(inner, _)| inner);
    let fused = match plain {
        Some((_, Pointwise::GeluTanh)) => true,
        Some((_, Pointwise::Gelu)) => options.cuda.gelu == Gelu::Fused && known,
        _ => false,
    };
    let wanted = SortieOperators {
        gelu: target.elem() == Elem::F16 && fused && takes_product(hidden, inner),
        apart: takes_query_key_value(&model.encoder),
        kernels: wants,
    };
    let (gpu, number) = match (target, &ready.gpu) {
        (Target::Cuda(_), Some((gpu, number))) if wanted != none => (gpu, *number),
        #[cfg(test)]
        (Target::StandIn(_, has), _) => {
            let kernels = wanted.kernels && has.kernels;
            return Ok((
                SortieOperators { gelu: wanted.gelu && has.gelu, apart: wanted.apart && has.apart, kernels },
                None,
            ));
        }
        (Target::Cuda(_) | Target::Cpu, _) => return Ok((none, None)),
    };
    let plain = |error: &CudaError, what: &str| tracing::warn!(%error, "{what}; ONNX Runtime's own steps instead");
    let kernels = match wants.then(|| Kernels::open(gpu, number)).transpose() {
        Err(error) if !needs => {
            plain(&error, "our own kernels cannot be had");
            None
        }
        kernels => kernels?,
    };
    let products = match Products::open(gpu, number) {
        Ok(products) => products,
        Err(error) if needs => return Err(error),
        Err(error) => {
            plain(&error, "no products of cublasLt");
            return Ok((none, None));
        }
    };
    let up = ProductSizes { rows: 1, inner: hidden, columns: inner };
    let gelu = || {
        products
            .serves(up, Formats::HALF, Epilogue::BiasGelu, 1)
            .inspect_err(|e| plain(e, "no product with GELU inside"))
    };
    // What may be launched: queries with their bias, alone or with others; the others without.
    let kinds = [
        (Epilogue::Bias, 1),
        (Epilogue::Bias, 2),
        (Epilogue::Bias, TOGETHER),
        (Epilogue::Plain, 1),
        (Epilogue::Plain, 2),
    ];
    let each = || {
        [1, FEW_ROWS].into_iter().try_for_each(|rows| {
            let sizes = ProductSizes { rows, inner: hidden, columns: hidden };
            kinds.iter().try_for_each(|&(epilogue, count)| products.serves(sizes, Formats::HALF, epilogue, count))
        })
    };
    let apart = || each().inspect_err(|e| plain(e, "no products for queries, keys and values apart"));
    let own = SortieOperators {
        gelu: wanted.gelu && gelu().is_ok(),
        apart: wanted.apart && kernels.is_none() && apart().is_ok(),
        kernels: kernels.is_some(),
    };
    Ok((own, (own != none).then_some((products, kernels))))
}

/// A session, and what goes with it.
pub(crate) struct LoadedSession {
    pub(crate) session: Session,
    pub(crate) host: NativeHost,
    /// Its stream, where it has one of ours.
    pub(crate) memory: Option<Memory>,
    /// Kept for the sessions that are loaded later.
    pub(crate) graph: Arc<NativeGraph>,
}

/// Loads `model` into a session for `target` on `device`.
///
/// What the processor does for it, the run for calibration and the writing of weights, takes seconds: only what touches the
/// GPU keeps captures of other sessions waiting.
pub(crate) fn load(
    model: &NativeModel,
    options: &LoadOptions,
    device: Device,
    target: Target,
) -> Result<LoadedSession, LoadError> {
    model.refuse_device(device)?;
    let path = &model.folder;
    let bad = refused(path);
    let using = || (device != Device::Cpu).then(cuda::using);
    // First of all: where the device cannot be had, nobody waits for the rest.
    let ready = {
        let _using = using();
        Ready::new(options, device, path, true)?
    };
    let facts = facts(model, target, options);
    let (own, products) = {
        let _using = using();
        own(model, target, &ready, options, facts.is_some()).map_err(|source| LoadError::Device { device, source })?
    };
    // Tests run the GPU's graph on a processor too.
    let kept = options.kept_on(device).filter(|_| target.is_cpu());
    let graph = shared(model, target, SessionShape { own, facts, kept });
    // Whatever holds something of the GPU is declared after the guard, and so freed under it on every way out.
    let _using = using();
    let (mut ready, products) = (ready, products);
    let graph = graph?;
    let memory = ready.memory.take();
    let own = products.map(|(products, kernels)| cuda_domain(products, kernels)).transpose().map_err(&bad)?;
    let session = commit(ready.builder, target, options.threads, own, &graph.written, path)?;
    let gives = |name: &str| session.outputs().iter().any(|o| o.name() == name);
    let takes = |name: &&str| session.inputs().iter().any(|i| i.name() == *name);
    let host = NativeHost {
        bounds: Bounds {
            vocab: model.encoder.vocab,
            segments: model.encoder.segments(),
            longest: model.encoder.longest,
        },
        numbering: model.encoder.numbering(),
        task: model.task.clone(),
        head: model.head,
        routes: Arc::clone(&model.routes),
        width: graph.width,
        pair_bytes: model.tagger.as_ref().map_or(0, |tagger| tagger.pair_numbers() * size_of::<f32>()),
        inputs: INPUTS.into_iter().filter(takes).collect(),
        has: Outputs { whole: true, picked: gives(PICKED), pooled: gives(POOLED) },
        pooling: model.pooling,
        // Numbers of chunks differ within a bucket: such a graph has no fixed shape.
        grid: (ready.graphs && !takes(&input::CHUNKED)).then(|| Grid::new(model.encoder.longest)),
    };
    Ok(LoadedSession { session, host, memory, graph })
}
