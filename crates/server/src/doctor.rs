//! `sortie-server doctor`: what this machine has to run models on, and a small run to prove it.
//!
//! It looks at what serving would look at, in the same order, and says what it found:
//! the ONNX Runtime library, its CUDA provider, the driver, the devices; then loads a made-up
//! model on each device asked for, runs it, and says which provider ran which operators.

use std::{
    ffi::OsString,
    fmt::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use sortie_engine::{
    Device, DeviceSet, Executor, GpuFacts, LoadOptions, Model, NodeTime, ORT_VERSION, Precision, Runtime, SampleShape,
    Sequence, Want, WorkItem, library_candidates_for, write_sample,
};

use sortie_frontend::config::unset_blank;

/// Where Linux's driver says its version.
const DRIVER_VERSION: &str = "/proc/driver/nvidia/version";

/// Batches of the self-test, in sequences of [`TOKENS`] tokens: one pair, and enough to fill a device.
const BATCHES: [usize; 2] = [1, 16];

/// Tokens of each sequence of the self-test.
const TOKENS: u32 = 128;

/// Runs of each batch; the best counts, after two that do not.
const RUNS: usize = 10;

/// Operators that are shown of a self-test: beyond these nothing takes time.
const SHOWN: usize = 6;

/// The command line after `doctor`.
#[derive(Debug, Parser)]
#[command(name = "sortie-server doctor", about = "What this machine has to run models on, and a small run to prove it")]
pub struct DoctorArgs {
    /// Devices to try: cpu, cuda:0,cuda:1 or cuda:all; without it every GPU there is, else the processor
    #[arg(long, env = "SORTIE_DEVICE")]
    device: Option<DeviceSet>,
    /// The ONNX Runtime library; without it ORT_DYLIB_PATH and the usual places are tried
    #[arg(long, env = "SORTIE_ORT_LIBRARY", value_name = "FILE")]
    ort_library: Option<PathBuf>,
    /// Number format: f32, bf16, auto; on GPUs f16; on processors bf16x3, int8; without it f16 on GPUs and f32 on processors
    #[arg(long)]
    precision: Option<Precision>,
}

/// What the doctor found.
#[derive(Debug)]
pub struct Findings {
    /// For people, line by line.
    pub text: String,
    /// Whether every device asked for ran.
    pub well: bool,
}

/// Reads the command line that follows `doctor`.
///
/// # Errors
/// As clap has it; help and version are among them.
pub fn args(rest: impl IntoIterator<Item = OsString>) -> Result<DoctorArgs, clap::Error> {
    let line = std::iter::once("sortie-server doctor".into()).chain(rest);
    let matches = unset_blank(DoctorArgs::command()).try_get_matches_from(line)?;
    DoctorArgs::from_arg_matches(&matches)
}

/// Looks and tries.
///
/// # Errors
/// When its own files cannot be written; what is missing for serving is a finding.
pub fn examine(args: &DoctorArgs) -> anyhow::Result<Findings> {
    let mut text = String::new();
    let first = match &args.device {
        Some(DeviceSet::Listed(devices)) => devices.first().copied().unwrap_or_default(),
        // Looking for a GPU needs the library that could use one.
        _ => Device::Cuda(0),
    };
    let runtime = match Runtime::find_for(args.ort_library.as_deref(), first) {
        Ok(runtime) => runtime,
        Err(why) => {
            writeln!(text, "ONNX Runtime\n  {why}\nCUDA")?;
            driver(&mut text)?;
            return Ok(Findings { text, well: false });
        }
    };
    // Asked of the library: it may be one that somebody brought.
    let version = runtime.version().unwrap_or_else(|| "of an unknown version".to_owned());
    writeln!(text, "ONNX Runtime {version}\n  library     {}", runtime.library().display())?;
    if version != ORT_VERSION {
        writeln!(text, "  made for    {ORT_VERSION}: another release may lack or change what is used here")?;
    }
    writeln!(text, "  build       {}", runtime.build_info())?;
    for (path, why) in library_candidates_for(args.ort_library.as_deref(), first) {
        if path != runtime.library() {
            let there = if path.is_file() { "there too" } else { "not there" };
            writeln!(text, "  looked for  {} ({why}): {there}", path.display())?;
        }
    }
    let gpus = gpus(&mut text, &runtime)?;
    let devices = match &args.device {
        Some(DeviceSet::Listed(devices)) => devices.clone(),
        Some(_) if gpus.is_empty() => {
            writeln!(text, "\ncuda:all is asked for, and there is no GPU")?;
            return Ok(Findings { text, well: false });
        }
        None if gpus.is_empty() => vec![Device::Cpu],
        _ => gpus.iter().map(|gpu| Device::Cuda(gpu.number)).collect(),
    };
    let mut well = true;
    for device in devices {
        well &= self_test(&mut text, &runtime, device, args.precision)?;
    }
    Ok(Findings { text, well })
}

/// The driver, whether or not anything could use it.
fn driver(text: &mut String) -> std::fmt::Result {
    match std::fs::read_to_string(DRIVER_VERSION) {
        Ok(version) => writeln!(text, "  driver      {}", version.lines().next().unwrap_or_default()),
        Err(why) => writeln!(text, "  driver      none ({DRIVER_VERSION}: {why})"),
    }
}

fn gpus(text: &mut String, runtime: &Runtime) -> anyhow::Result<Vec<GpuFacts>> {
    writeln!(text, "CUDA")?;
    driver(text)?;
    if let Ok([driver, libraries]) = runtime.cuda_versions() {
        let [driver, libraries] = [driver, libraries].map(|(major, minor)| format!("{major}.{minor}"));
        writeln!(text, "  versions    the driver serves CUDA {driver}, the libraries are {libraries}")?;
    }
    match runtime.gpus() {
        Ok(gpus) => {
            for g in &gpus {
                let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
                writeln!(
                    text,
                    "  cuda:{}      {}, compute capability {}.{}, {:.1} of {:.1} GiB free",
                    g.number,
                    g.name,
                    g.capability.0,
                    g.capability.1,
                    gib(g.free),
                    gib(g.total)
                )?;
            }
            Ok(gpus)
        }
        Err(why) => {
            writeln!(text, "  none        {why}")?;
            Ok(Vec::new())
        }
    }
}

/// Loads a made-up model on `device` and runs it; true where it went well.
fn self_test(
    text: &mut String,
    runtime: &Runtime,
    device: Device,
    precision: Option<Precision>,
) -> anyhow::Result<bool> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    write_sample(folder.path(), SampleShape::TINY, true).context("cannot write the made-up model")?;
    let options = LoadOptions { runtime: Some(runtime.clone()), device, precision, ..LoadOptions::default() };
    let tried = timed(folder.path(), &options).and_then(|report| Ok((report, placed(folder.path(), options)?)));
    match tried {
        Ok((report, nodes)) => {
            writeln!(text, "Self-test on {device}\n{report}")?;
            for n in nodes.iter().take(SHOWN) {
                writeln!(text, "  {:<28} {} times on {}", n.operator, n.runs, n.provider)?;
            }
            let wanted = if device == Device::Cpu { "CPUExecutionProvider" } else { "CUDAExecutionProvider" };
            let elsewhere = nodes.iter().filter(|n| n.provider != wanted).count();
            let verdict = match elsewhere {
                0 => format!("every operator ran on {wanted}"),
                n => format!("{n} operators ran elsewhere than on {wanted}"),
            };
            writeln!(text, "  {verdict}")?;
            Ok(elsewhere == 0)
        }
        Err(why) => {
            writeln!(text, "Self-test on {device}\n  failed      {why:#}")?;
            Ok(false)
        }
    }
}

/// Times of a few batches, line by line.
fn timed(folder: &Path, options: &LoadOptions) -> anyhow::Result<String> {
    let model = Model::open(folder, options)?;
    let start = Instant::now();
    let mut executor = Executor::new(&model)?;
    let loaded = start.elapsed();
    let graphs = executor.capture();
    let mut report = String::new();
    write!(report, "  loaded      {}, weights in {}", shown(loaded), model.info().precision)?;
    if graphs.captured > 0 {
        write!(report, ", {} CUDA graphs in {} MiB", graphs.captured, graphs.bytes >> 20)?;
    }
    for count in BATCHES {
        let best = best(&mut executor, count)?;
        write!(report, "\n  {:>5} tokens {}", count * TOKENS as usize, shown(best))?;
    }
    Ok(report)
}

fn best(executor: &mut Executor, count: usize) -> anyhow::Result<Duration> {
    let sequence = Sequence { ids: (0..TOKENS).map(|i| i % 500).collect(), ..Sequence::default() };
    let item = WorkItem { sequence, want: Want::Logits };
    let batch: Vec<&WorkItem> = std::iter::repeat_n(&item, count).collect();
    let mut best = Duration::MAX;
    for run in 0..RUNS + 2 {
        let start = Instant::now();
        for answer in executor.run(&batch) {
            answer?;
        }
        if run >= 2 {
            best = best.min(start.elapsed());
        }
    }
    Ok(best)
}

/// Which provider ran which operators. Without CUDA graphs, which hide them.
fn placed(folder: &Path, mut options: LoadOptions) -> anyhow::Result<Vec<NodeTime>> {
    options.profile = Some(folder.join("profile"));
    options.cuda.graphs = false;
    let model = Model::open(folder, &options)?;
    let mut executor = Executor::new(&model)?;
    best(&mut executor, 1)?;
    Ok(executor.profile()?)
}

fn shown(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doctor(line: &[&str]) -> Findings {
        examine(&args(line.iter().map(OsString::from)).unwrap()).unwrap()
    }

    #[test]
    fn a_processor_is_examined_and_named() {
        let found = doctor(&["--device", "cpu"]);
        assert!(found.well, "{}", found.text);
        for word in [
            ORT_VERSION,
            "library",
            "build",
            "driver",
            "Self-test on cpu",
            "Gather",
            "every operator ran on CPUExecutionProvider",
        ] {
            assert!(found.text.contains(word), "{word} is missing in\n{}", found.text);
        }
    }

    #[test]
    fn a_library_that_is_not_there_is_a_finding() {
        let found = doctor(&["--ort-library", "/nowhere/libonnxruntime.so"]);
        // Another test may have loaded the library: then that is what is said.
        assert!(!found.well && found.text.contains("/nowhere"), "{}", found.text);
        assert!(found.text.contains("\n  driver      "), "{}", found.text);
    }

    #[test]
    fn a_device_that_is_none_is_refused() {
        let error = args(["--device", "tpu"].map(OsString::from)).unwrap_err().to_string();
        assert!(error.contains("tpu"), "{error}");
    }
}
