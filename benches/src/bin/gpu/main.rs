//! What the engine and a server do on a GPU, in one program that needs nothing but
//! ONNX Runtime's CUDA build beside it: it is built elsewhere and carried to the host.
//!
//! ```text
//! gpu parity   numbers against PyTorch's, alone and in batches
//! gpu speed    200 pairs and one pair, beside padded ONNX Runtime and PyTorch
//! gpu serve    text in, scores out over gRPC on loopback, beside sentence-transformers
//! gpu families folders of any family: numbers in every format, or speed
//! gpu errors   scores in f16 and bf16, for gpu_errors.py to judge
//! gpu invariance  the same bits alone and in every company
//! gpu guard    one pair beside bulk work, and singles in an open loop
//! gpu memory   random batches, and what they leave behind
//! gpu all      all of these
//!
//! gpu several  several GPUs: start-up, one job, full load, and whether their scores are the same
//! gpu lost     one of several is lost under full load
//! gpu soak     random jobs on several, and what they leave behind
//! ```
//! Tables are Markdown. The exit code says whether parity held. Rivals run in Python
//! (`gpu_rivals.py`) where `--python` names one that has torch; without it their rows are left out.

#![forbid(unsafe_code)]

mod errors;
mod export;
mod families;
mod guard;
mod invariance;
mod memory;
mod parity;
mod rivals;
mod serve;
mod server;
mod several;
mod speed;
mod texts;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use sortie_engine::{CudaOptions, DEFAULT_ATTENTION, Device, Gelu, LoadOptions, Precision, Runtime, SampleShape};

#[derive(Parser)]
#[command(about = "Parity, speed and memory of the engine and a server on one device")]
struct Cli {
    #[command(subcommand)]
    which: Part,
    #[command(flatten)]
    common: Common,
}

#[derive(Subcommand, Clone, Copy)]
enum Part {
    /// Numbers against PyTorch's
    Parity,
    /// 200 pairs and one pair, engine only
    Speed,
    /// Text in, scores out over gRPC
    Serve,
    /// Folders of any family, in every format
    Families,
    /// Scores of rerankers in f16 and bf16, for `gpu_errors.py`
    Errors,
    /// Answers alone and in every company, bit for bit
    Invariance,
    /// One pair beside bulk work, and singles in an open loop
    Guard,
    /// Random batches, and what they leave behind
    Memory,
    /// All of these
    All,
    /// Several GPUs: start-up, one job, full load
    Several,
    /// One of several GPUs is lost under full load
    Lost,
    /// Random jobs on several GPUs, and what they leave behind
    Soak,
}

/// What every part takes.
#[derive(Args)]
struct Common {
    /// Device
    #[arg(long, global = true, default_value = "cuda:0")]
    device: Device,
    /// Number format on a GPU
    #[arg(long, global = true, default_value = "f16")]
    precision: Precision,
    /// The ONNX Runtime library
    #[arg(long, global = true)]
    ort_library: Option<PathBuf>,
    /// Without CUDA graphs
    #[arg(long, global = true)]
    no_graphs: bool,
    /// Every batch through page-locked memory
    #[arg(long, global = true)]
    pinned: bool,
    /// Exports run unbound: token states come back whole
    #[arg(long, global = true)]
    no_binding: bool,
    /// Attention kernels, as the bits of ONNX Runtime's `sdpa_kernel`; 0 leaves the choice to it
    #[arg(long, global = true, default_value_t = DEFAULT_ATTENTION)]
    attention: u32,
    /// GELU in f16: fused or exact
    #[arg(long, global = true, default_value = "fused")]
    gelu: Gelu,
    /// Weights rounded one by one, GELU exact
    #[arg(long, global = true)]
    no_calibration: bool,
    /// ONNX Runtime's operators in the place of our kernels, where they can do the same
    #[arg(long, global = true)]
    operators: bool,
    /// Device memory taken as batches need it
    #[arg(long, global = true)]
    no_reserve: bool,
    /// Sessions side by side on the device, each on a stream of its own, beside one; 1 leaves the comparison out
    #[arg(long, global = true, default_value_t = 1)]
    streams: usize,
    /// Folder with `tiny/` and `minilm.json`
    #[arg(long, global = true, default_value = "tests/oracle")]
    oracle: PathBuf,
    /// Folder with the real models `minilm`, `minilm-onnx`, `splade` and `reranker`; rows of what is not there are left
    /// out
    #[arg(long, global = true)]
    models: Option<PathBuf>,
    /// Shapes to time: minilm, base, large
    #[arg(long, global = true, value_delimiter = ',', default_value = "minilm,base,large")]
    shapes: Vec<ModelShape>,
    /// Times each way runs; the median counts
    #[arg(long, global = true, default_value_t = 20)]
    rounds: usize,
    /// Random batches of the memory part
    #[arg(long, global = true, default_value_t = 10_000)]
    batches: usize,
    /// A Python with torch, transformers and sentence-transformers
    #[arg(long, global = true)]
    python: Option<PathBuf>,
    /// The script with the rivals
    #[arg(long, global = true, default_value = "benches/gpu_rivals.py")]
    rivals: PathBuf,
    /// Folders of folders, for the part of families: those with answers are held to them, others are timed
    #[arg(long, global = true, value_delimiter = ',')]
    folders: Vec<PathBuf>,
    /// The server's program
    #[arg(long, global = true, default_value = "sortie-server")]
    server: PathBuf,
    /// Devices of the parts for several of them
    #[arg(long, global = true, default_value = "cuda:0,cuda:1")]
    devices: String,
    /// The library that breaks a GPU (`gpu_fault.cu`), for the part in which one is lost
    #[arg(long, global = true)]
    fault: Option<PathBuf>,
    /// Seconds of random jobs
    #[arg(long, global = true, default_value_t = 600)]
    soak: u64,
    /// Seconds of full load
    #[arg(long, global = true, default_value_t = 20)]
    seconds: u64,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ModelShape {
    Tiny,
    Minilm,
    Base,
    Large,
}

impl ModelShape {
    fn name(self) -> &'static str {
        match self {
            ModelShape::Tiny => "tiny",
            ModelShape::Minilm => "minilm",
            ModelShape::Base => "base",
            ModelShape::Large => "large",
        }
    }

    fn sample(self) -> SampleShape {
        match self {
            // The vocabulary of the others: the work's ids are the same.
            ModelShape::Tiny => SampleShape { vocab: SampleShape::MINILM.vocab, ..SampleShape::TINY },
            ModelShape::Minilm => SampleShape::MINILM,
            ModelShape::Base => SampleShape::BASE,
            ModelShape::Large => SampleShape::LARGE,
        }
    }
}

impl Common {
    fn runtime(&self) -> anyhow::Result<Runtime> {
        Ok(Runtime::find_for(self.ort_library.as_deref(), self.device)?)
    }

    fn options(&self) -> anyhow::Result<LoadOptions> {
        Ok(LoadOptions {
            runtime: Some(self.runtime()?),
            max_length: None,
            device: self.device,
            precision: Some(self.precision),
            cuda: CudaOptions {
                graphs: !self.no_graphs,
                pinned: self.pinned,
                bind: !self.no_binding,
                attention: self.attention,
                gelu: self.gelu,
                calibrate: !self.no_calibration,
                kernels: !self.operators,
                ..CudaOptions::default()
            },
            ..LoadOptions::default()
        })
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let Cli { which, common } = Cli::parse();
    // What the engine does without, and why, belongs beside the figures.
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .init();
    let runtime = common.runtime()?;
    println!("{}", runtime.build_info());
    match runtime.gpus() {
        Ok(gpus) => gpus.iter().for_each(|g| {
            println!("cuda:{} {} {}.{}, {} MiB", g.number, g.name, g.capability.0, g.capability.1, g.total >> 20);
        }),
        Err(why) => println!("no GPU: {why}"),
    }
    let mut held = true;
    if matches!(which, Part::Parity | Part::All) {
        held &= parity::run(&common)?;
    }
    if matches!(which, Part::Speed | Part::All) {
        speed::run(&common)?;
        export::run(&common)?;
    }
    if matches!(which, Part::Serve | Part::All) {
        serve::run(&common)?;
    }
    if matches!(which, Part::Memory | Part::All) {
        memory::run(&common)?;
    }
    match which {
        Part::Invariance => held &= invariance::run(&common)?,
        Part::Guard => guard::run(&common)?,
        Part::Errors => errors::run(&common)?,
        Part::Families => held &= families::run(&common)?,
        Part::Several => several::run(&common)?,
        Part::Lost => several::lost(&common)?,
        Part::Soak => several::soak(&common)?,
        _ => {}
    }
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
