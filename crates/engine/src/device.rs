//! Where a model runs, and in which number format.
//!
//! ```text
//! cpu | cuda | cuda:N[,cuda:M…] | cuda:all
//! ```
//! `cuda` is `cuda:0`. A device asked for is the device used: what cannot be had is
//! an error, never another device.

use std::{fmt, str::FromStr};

use sortie_gemm::{Unit, WeightFormat};

/// One device of this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU, by its number as CUDA counts them (`CUDA_VISIBLE_DEVICES` applies).
    Cuda(u32),
}

/// Most sessions side by side on one GPU. Two hide what each batch costs by itself behind the other's work; more were not
/// found to add anything, and each takes its own memory.
pub const MAX_SESSIONS: usize = 4;

/// The devices a model is to run on, one session each.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceSet {
    /// These, in this order. A GPU that stands there twice has two sessions side by side.
    Listed(Vec<Device>),
    /// Every NVIDIA GPU that CUDA shows.
    AllCuda,
}

/// A device that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No device is written so.
    #[error("{0:?} is no device; cpu, cuda:N and cuda:all are")]
    Unknown(String),
    /// A device stands there more often than it may.
    #[error("{device} is given more than {most} times")]
    TooOften {
        /// The device.
        device: Device,
        /// How often it may stand there.
        most: usize,
    },
    /// Processor and GPU in one list: one queue cannot serve two speeds well.
    #[error("cpu cannot be listed together with cuda devices")]
    Mixed,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(text.to_owned());
        match text {
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
            _ => {
                let number = text.strip_prefix("cuda:").ok_or_else(unknown)?;
                // `parse` takes a sign too.
                let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
                if digits { number.parse().map(Device::Cuda).map_err(|_| unknown()) } else { Err(unknown()) }
            }
        }
    }
}

impl fmt::Display for DeviceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceSet::AllCuda => f.write_str("cuda:all"),
            DeviceSet::Listed(devices) => {
                for (i, device) in devices.iter().enumerate() {
                    write!(f, "{}{device}", if i > 0 { "," } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

impl FromStr for DeviceSet {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        if text == "cuda:all" {
            return Ok(DeviceSet::AllCuda);
        }
        let devices = text.split(',').map(|d| d.trim().parse()).collect::<Result<Vec<Device>, _>>()?;
        for &device in &devices {
            let most = if device == Device::Cpu { 1 } else { MAX_SESSIONS };
            if devices.iter().filter(|&&other| other == device).count() > most {
                return Err(DeviceError::TooOften { device, most });
            }
        }
        if devices.len() > 1 && devices.contains(&Device::Cpu) {
            return Err(DeviceError::Mixed);
        }
        Ok(DeviceSet::Listed(devices))
    }
}

/// Number format of weights and activations on the device. Sums inside norms and
/// softmax, and everything past the encoder, are f32 whatever this is.
///
/// | | processor | GPU |
/// | --- | --- | --- |
/// | `f32` | default | yes |
/// | `f16` | no | default |
/// | `bf16` | products in bf16, sums in f32 | yes |
/// | `bf16x3`, `int8` | the same, in these formats | no |
/// | `auto` | `bf16` where that is fast, else `f32` | `f16` |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precision {
    /// 32 bits: the reference.
    F32,
    /// 16 bits, 11 of them significant, up to 65,504: the default on GPUs.
    F16,
    /// 16 bits, 8 of them significant, with the range of f32. On GPUs for models whose
    /// activations leave f16's range; attention is in it too where our kernels run. On
    /// processors products are in it, and attention where nothing goes by distance.
    Bf16,
    /// Processors: each number in two parts of bf16, three products: near f32.
    Bf16x3,
    /// Processors: products of 8 bits, a scale for each token and each output.
    Int8,
    /// The fastest whose answers hardly differ.
    Auto,
}

/// Why a processor has no narrow products at all.
const NO_UNIT: &str = "this processor has no unit for it; f32 is served here";

impl Precision {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::F32, Self::F16, Self::Bf16, Self::Bf16x3, Self::Int8, Self::Auto];

    /// Short name, as in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
            Precision::Bf16x3 => "bf16x3",
            Precision::Int8 => "int8",
            Precision::Auto => "auto",
        }
    }

    /// What it comes to on `device`.
    #[must_use]
    pub fn on(self, device: Device) -> Self {
        match (self, device) {
            (Self::Auto, Device::Cuda(_)) => Self::F16,
            (Self::Auto, Device::Cpu) => {
                let fast = Unit::of(WeightFormat::Bf16).is_fast(WeightFormat::Bf16);
                if fast { Self::Bf16 } else { Self::F32 }
            }
            (named, _) => named,
        }
    }

    /// Why `device` does not have it.
    #[must_use]
    pub fn refused_on(self, device: Device) -> Option<&'static str> {
        match (self, device) {
            (Self::F16, Device::Cpu) => {
                Some("processors have no f16; f32, bf16, bf16x3, int8 and auto are served there")
            }
            (Self::Int8, Device::Cpu) if Unit::of(WeightFormat::Int8) == Unit::Portable => Some(
                "int8 needs AMX, AVX512-VNNI or AVX-VNNI, and this processor has none; f32, bf16 and bf16x3 are served here",
            ),
            (Self::Bf16, Device::Cpu) if Unit::of(WeightFormat::Bf16) == Unit::Portable => Some(NO_UNIT),
            (Self::Bf16x3, Device::Cpu) if Unit::of(WeightFormat::Bf16x3) == Unit::Portable => Some(NO_UNIT),
            (Self::Bf16x3 | Self::Int8, Device::Cuda(_)) => {
                Some("GPUs have no such products; f16, bf16, f32 and auto are served there")
            }
            _ => None,
        }
    }

    /// Format of products on a processor; `None`: ONNX Runtime's, in f32, where ours are no faster.
    pub(crate) fn kept(self) -> Option<WeightFormat> {
        match self {
            Self::Bf16 => Some(WeightFormat::Bf16),
            Self::Bf16x3 => Some(WeightFormat::Bf16x3),
            Self::Int8 => Some(WeightFormat::Int8),
            Self::F32 => Some(WeightFormat::F32).filter(|&format| Unit::of(format).is_fast(format)),
            Self::F16 | Self::Auto => None,
        }
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|p| p.name() == text)
            .ok_or_else(|| format!("{text:?} is no precision; f32, f16, bf16, bf16x3, int8 and auto are"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(text: &str) -> Result<DeviceSet, DeviceError> {
        text.parse()
    }

    #[test]
    fn devices_are_read() {
        assert_eq!(set("cpu"), Ok(DeviceSet::Listed(vec![Device::Cpu])));
        assert_eq!(set("cuda"), Ok(DeviceSet::Listed(vec![Device::Cuda(0)])));
        assert_eq!(set("cuda:1, cuda:0"), Ok(DeviceSet::Listed(vec![Device::Cuda(1), Device::Cuda(0)])));
        assert_eq!(set("cuda,cuda:0"), Ok(DeviceSet::Listed(vec![Device::Cuda(0), Device::Cuda(0)])));
        assert_eq!(set("cuda:all"), Ok(DeviceSet::AllCuda));
    }

    #[test]
    fn slips_are_named() {
        for text in ["", "gpu", "cuda:", "cuda:+1", "cuda:-1", "cuda:x", "CPU", "cuda:99999999999", "cuda:0,"] {
            assert!(matches!(set(text), Err(DeviceError::Unknown(_))), "{text}");
        }
        assert_eq!(set("cpu,cpu"), Err(DeviceError::TooOften { device: Device::Cpu, most: 1 }));
        let five = ["cuda:1"; MAX_SESSIONS + 1].join(",");
        assert_eq!(set(&five), Err(DeviceError::TooOften { device: Device::Cuda(1), most: MAX_SESSIONS }));
        assert_eq!(set("cpu,cuda:0"), Err(DeviceError::Mixed));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(numbers in prop::collection::btree_set(0u32..64, 1..8)) {
            let devices = DeviceSet::Listed(numbers.into_iter().map(Device::Cuda).collect());
            prop_assert_eq!(set(&devices.to_string()), Ok(devices));
        }
    }

    #[test]
    fn precisions_read_back() {
        for p in Precision::ALL {
            assert_eq!(p.name().parse(), Ok(p));
        }
        assert!("fp8".parse::<Precision>().is_err());
    }

    #[test]
    fn each_device_has_its_precisions() {
        let (cpu, gpu) = (Device::Cpu, Device::Cuda(0));
        assert_eq!(Precision::Auto.on(gpu), Precision::F16);
        assert!(matches!(Precision::Auto.on(cpu), Precision::F32 | Precision::Bf16));
        let refused = |device| Precision::ALL.into_iter().filter(move |p| p.refused_on(device).is_some());
        assert_eq!(refused(gpu).collect::<Vec<_>>(), [Precision::Bf16x3, Precision::Int8]);
        let without = refused(cpu).filter(|p| *p != Precision::Int8).collect::<Vec<_>>();
        assert_eq!(without, [Precision::F16]);
    }
}
