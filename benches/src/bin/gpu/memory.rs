//! Ten thousand batches of random sizes: device and host memory must end where they
//! stood once the largest had been seen.

use anyhow::Context as _;
use sortie_engine::{Device, Executor, Model, WorkItem, write_sample};

use crate::{Common, ModelShape, speed::items};

/// Largest batch in tokens; the host's memory for it is a few megabytes.
const MOST_TOKENS: usize = 16_384;

/// Longest sequence.
const LONGEST: usize = 512;

/// Rows of the table.
const ROWS: usize = 10;

/// Prints the table.
pub(crate) fn run(common: &Common) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    write_sample(folder.path(), ModelShape::Minilm.sample(), true)?;
    let model = Model::open(folder.path(), &common.options()?)?;
    let mut executor = Executor::new(&model)?;
    let graphs = executor.capture();
    if !common.no_reserve {
        executor.reserve(MOST_TOKENS);
    }
    let mut random = 7_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap_or(0) % below
    };
    println!(
        "\n## Memory, {} random batches, {} CUDA graphs of {} MiB\n",
        common.batches,
        graphs.captured,
        graphs.bytes >> 20
    );
    println!(
        "| batches | device MiB used | arena MiB held | arena MiB in use at most | host MiB resident |\n| ---: | ---: | ---: | ---: | ---: |"
    );
    let step = (common.batches / ROWS).max(1);
    // The largest first: what is held after it is what the cap must allow.
    let largest = batch(MOST_TOKENS, &mut |_| LONGEST - 1);
    for i in 0..=common.batches {
        let work = if i == 0 { largest.clone() } else { batch(1 + next(MOST_TOKENS), &mut next) };
        for given in executor.run(&work.iter().collect::<Vec<_>>()) {
            given?;
        }
        if i % step == 0 {
            let arena = executor.arena()?;
            let used = device_used(common)?;
            println!("| {i} | {used} | {} | {} | {} |", arena.held >> 20, arena.peak >> 20, resident()?);
        }
    }
    Ok(())
}

/// Sequences of random lengths, `tokens` in all.
fn batch(tokens: usize, next: &mut impl FnMut(usize) -> usize) -> Vec<WorkItem> {
    let mut ids = Vec::new();
    let mut left = tokens;
    while left > 0 {
        let length = (1 + next(LONGEST)).min(left);
        ids.push((0..length as u32).map(|i| 2_000 + i).collect());
        left -= length;
    }
    items(ids)
}

/// MiB in use on the device by all processes.
fn device_used(common: &Common) -> anyhow::Result<String> {
    let Device::Cuda(number) = common.device else { return Ok("–".to_owned()) };
    let gpus = common.runtime()?.gpus()?;
    let gpu = gpus.iter().find(|g| g.number == number).context("the device is gone")?;
    Ok(((gpu.total - gpu.free) >> 20).to_string())
}

/// MiB of this process that are resident.
fn resident() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib >> 10)
}
