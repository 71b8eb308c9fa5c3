//! A GPU that is asked for is had, or refused with the reason: never a run elsewhere.

use std::error::Error as _;

use crate::support::oracle;
use sortie_engine::{CudaError, CudaOptions, Device, Executor, LoadError, LoadOptions, Model, Precision};

#[test]
fn a_gpu_is_had_or_refused_with_the_reason() {
    let options = LoadOptions { device: Device::Cuda(0), threads: Some(1), ..LoadOptions::default() };
    let model = Model::open(&oracle("bert-rerank"), &options).unwrap();
    assert_eq!((model.info().device.as_str(), model.info().precision), ("cuda:0", "f16"));
    match Executor::new(&model) {
        Ok(executor) => assert_eq!(executor.device(), Device::Cuda(0)),
        Err(error @ LoadError::Device { .. }) => {
            assert_eq!(error.to_string(), "cuda:0 cannot be used");
            let why = error.source().unwrap().to_string();
            let told = ["cargo xtask ort --cuda", "NVIDIA driver", "CUDA shows", "compute capability"];
            assert!(told.iter().any(|t| why.contains(t)), "{why}");
        }
        Err(other) => panic!("not about the device: {other:?}"),
    }
}

#[test]
fn several_devices_are_told_as_they_were_listed() {
    let devices = vec![Device::Cuda(1), Device::Cuda(0)];
    let cuda = CudaOptions { devices, ..CudaOptions::default() };
    let options = LoadOptions { device: Device::Cuda(1), cuda, ..LoadOptions::default() };
    let model = Model::open(&oracle("bert-rerank"), &options).unwrap();
    assert_eq!(model.info().device, "cuda:1,cuda:0");
}

#[test]
fn a_library_without_cuda_says_how_to_get_one() {
    let runtime = sortie_engine::Runtime::find(None).unwrap();
    let provider = runtime.library().canonicalize().unwrap().with_file_name("libonnxruntime_providers_cuda.so");
    match runtime.gpus() {
        Err(CudaError::NoProvider(path)) => assert_eq!(path, provider),
        // Where the library was built with CUDA the next thing that is missing is named, or nothing is.
        Ok(_) | Err(_) => assert!(provider.is_file()),
    }
}

#[test]
fn processors_have_f32_unless_asked_and_no_f16() {
    let options = |precision| LoadOptions { precision, threads: Some(1), ..LoadOptions::default() };
    let model = Model::open(&oracle("bert-rerank"), &options(None)).unwrap();
    assert_eq!((model.info().device.as_str(), model.info().precision), ("cpu", "f32"));
    let error = Model::open(&oracle("bert-rerank"), &options(Some(Precision::F16))).unwrap_err().to_string();
    assert!(error.contains("processors have no f16"), "{error}");
}
