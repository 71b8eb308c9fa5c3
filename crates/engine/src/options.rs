//! What a caller may set when a model is opened, and the defaults with their reasons.

use std::path::PathBuf;

use sortie_gemm::WeightFormat;

use crate::{
    device::{Device, DeviceSet, Precision},
    error::LoadError,
    runtime::Runtime,
    task::Pooling,
};

/// What a caller may set when opening a model.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The loaded ONNX Runtime library; `None` finds it (see [`Runtime::find`]).
    pub runtime: Option<Runtime>,
    /// Threads ONNX Runtime may use inside one run; `None` means one a core.
    pub threads: Option<usize>,
    /// Longest sequence in tokens instead of the folder's, up to the positions the model has.
    pub max_length: Option<usize>,
    /// Pooling instead of the folder's.
    pub pooling: Option<Pooling>,
    /// Take the folder's ONNX export even where the native path would serve it.
    pub prefer_onnx: bool,
    /// The export to take, by its path in the folder, for example `onnx/model_O3.onnx`; `None` takes the usual one.
    pub onnx_file: Option<PathBuf>,
    /// Device of [`crate::Executor::new`].
    pub device: Device,
    /// Number format of native models on the device; `None` is f16 on GPUs and f32 on processors.
    pub precision: Option<Precision>,
    /// What only GPUs have.
    pub cuda: CudaOptions,
    /// Keep a profile of every run, for [`crate::Executor::profile`], in files of this prefix.
    pub profile: Option<PathBuf>,
}

/// How a GPU is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaOptions {
    /// Most bytes of device memory for a session's arena; `None` is a share of what is free at load
    /// ([`crate::DEFAULT_SHARE_TENTHS`]).
    pub memory_limit: Option<u64>,
    /// Devices of all sessions there are to be of the model, each as often as it has one; they divide that share. None means
    /// one session a device.
    pub devices: Vec<Device>,
    /// Small batches by CUDA graphs (see [`CapturedGraphs`](crate::CapturedGraphs)).
    pub graphs: bool,
    /// Models of the generic path: inputs and output bound, token states pooled on the device.
    pub bind: bool,
    /// Every batch's numbers go up and down through page-locked memory, on a stream of ours.
    pub pinned: bool,
    /// Attention kernels of native models, as the bits of ONNX Runtime's `sdpa_kernel`; 0 leaves it to ONNX Runtime.
    pub attention: u32,
    /// How the GELU of models that were trained with the exact one is computed in f16.
    pub gelu: Gelu,
    /// Run each f16 model once on the processor at load, to round its weights by what its activations are like.
    pub calibrate: bool,
    /// Run native models on our own kernels where the GPU has them (Ampere and later), rather than on ONNX Runtime's operators.
    /// What the operators cannot do runs on the kernels either way.
    pub kernels: bool,
}

/// How GELU is computed in f16 on a GPU. Models trained with the tanh form have it inside the product always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gelu {
    /// By the error function, after the product.
    Exact,
    /// In its tanh form inside the product, with the mean difference put back by the next bias.
    #[default]
    Fused,
}

impl Gelu {
    /// Its name, as in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Gelu::Exact => "exact",
            Gelu::Fused => "fused",
        }
    }
}

impl std::str::FromStr for Gelu {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Gelu::Exact, Gelu::Fused]
            .into_iter()
            .find(|g| g.name() == text)
            .ok_or_else(|| format!("{text:?} is no way to compute GELU; exact and fused are"))
    }
}

impl Default for CudaOptions {
    fn default() -> Self {
        Self {
            memory_limit: None,
            devices: Vec::new(),
            graphs: DEFAULT_GRAPHS,
            bind: DEFAULT_BIND,
            pinned: DEFAULT_PINNED,
            attention: DEFAULT_ATTENTION,
            gelu: Gelu::default(),
            calibrate: DEFAULT_CALIBRATE,
            kernels: DEFAULT_KERNELS,
        }
    }
}

/// CUDA graphs halve the time of a small batch: launches, not kernels, are what it waits for.
pub const DEFAULT_GRAPHS: bool = true;

/// Token states of a batch are a hundred megabytes; pooled on the device a few hundred kilobytes come back.
pub const DEFAULT_BIND: bool = true;

/// Off until measured to pay: a batch's numbers are a few hundred kilobytes.
pub const DEFAULT_PINNED: bool = false;

/// Flash (1), memory efficient (2) and plain (16) attention. Naming any makes ONNX Runtime take flash attention at every
/// length, which is 3 to 10% faster; left to itself it waits for 513 tokens. TensorRT's kernels (4, 32) are far slower here, but
/// not for padded graphs, which are therefore left alone.
pub const DEFAULT_ATTENTION: u32 = 1 | 2 | 16;

/// Seconds at load, more for larger models; without it f16 leaves the bounds of docs/gpu.md for some models.
pub const DEFAULT_CALIBRATE: bool = true;

/// Our kernels give a text the same bits in every company. ONNX Runtime's operators, which serve BERT's kind alone, do not.
pub const DEFAULT_KERNELS: bool = true;

impl CudaOptions {
    /// Sessions that are to run side by side on `device`, at least one.
    pub(crate) fn sessions_on(&self, device: Device) -> u64 {
        self.devices.iter().filter(|&&other| other == device).fold(0, |n, _| n + 1).max(1)
    }
}

impl LoadOptions {
    /// The library to run on: the one given, else the one found.
    pub(crate) fn runtime(&self) -> Result<Runtime, LoadError> {
        self.runtime.clone().map_or_else(|| Runtime::find_for(None, self.device), Ok)
    }

    /// Devices of all sessions there are to be.
    pub(crate) fn devices(&self) -> DeviceSet {
        let all = &self.cuda.devices;
        DeviceSet::Listed(if all.is_empty() { vec![self.device] } else { all.clone() })
    }

    /// Number format of a native model on `device`.
    pub(crate) fn precision_on(&self, device: Device) -> Precision {
        let usual = if device == Device::Cpu { Precision::F32 } else { Precision::F16 };
        self.precision.unwrap_or(usual).on(device)
    }

    /// Format of products by operators that keep their weights; `None`: the graph's.
    pub(crate) fn kept_on(&self, device: Device) -> Option<WeightFormat> {
        if device == Device::Cpu { self.precision_on(device).kept() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_counted_by_device() {
        let devices = [0, 1, 0].map(Device::Cuda).to_vec();
        let options = CudaOptions { devices, ..CudaOptions::default() };
        assert_eq!([0, 1, 2].map(|n| options.sessions_on(Device::Cuda(n))), [2, 1, 1]);
        assert_eq!(CudaOptions::default().sessions_on(Device::Cuda(0)), 1);
    }
}
