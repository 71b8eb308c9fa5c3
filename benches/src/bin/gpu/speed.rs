//! Rows 1 and 2: 200 pairs of 32,182 tokens, and one pair of 128 tokens, ids in and
//! scores out, on made-up weights of the three usual shapes. The gap between batches
//! is taken with the host laying out the next batch on a thread of its own, as a server does.

use std::{
    sync::{Barrier, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use sortie_benches::{batches_in_order, rerank_items};
use sortie_engine::{Executor, LoadOptions, Model, Sequence, Want, WorkItem, write_sample};
use sortie_lab::stats::quantile;

use crate::{Common, ModelShape, rivals};

/// Token budgets of a batch that are tried; the last takes all in one.
const BUDGETS: [usize; 4] = [4_096, 8_192, 16_384, usize::MAX];

/// Small batches: sequences of 128 tokens.
const SMALL: [usize; 5] = [1, 2, 4, 8, 16];

/// Batches of the gap's measurement, after as many that do not count.
const PIPELINED: usize = 200;

/// Padded batches have so many rows.
const PADDED_ROWS: usize = 32;

/// Prints the tables.
pub(crate) fn run(common: &Common) -> anyhow::Result<()> {
    for &shape in &common.shapes {
        one(common, shape).with_context(|| format!("shape {}", shape.name()))?;
    }
    Ok(())
}

fn one(common: &Common, shape: ModelShape) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    write_sample(folder.path(), shape.sample(), true)?;
    let model = Model::open(folder.path(), &common.options()?)?;
    let loading = Instant::now();
    let mut executor = Executor::new(&model)?;
    let loaded = loading.elapsed();
    let capturing = Instant::now();
    let graphs = executor.capture();
    println!("\n## {} on {}, {}\n", shape.name(), common.device, model.info().precision);
    println!(
        "loaded in {:.1} s; {} CUDA graphs in {:.1} s, {} left out, {} MiB\n",
        loaded.as_secs_f64(),
        graphs.captured,
        capturing.elapsed().as_secs_f64(),
        graphs.left_out,
        graphs.bytes >> 20
    );

    let work = items(rerank_items()?);
    let all: Vec<&WorkItem> = work.iter().collect();
    let lengths: Vec<usize> = all.iter().map(|i| i.sequence.len()).collect();
    let tokens: usize = lengths.iter().sum();
    let mut rows: Vec<(String, f64)> = Vec::new();
    for budget in BUDGETS {
        let batches = batches_in_order(&lengths, budget);
        let seconds = timed(common.rounds, || {
            batches.iter().try_for_each(|b| answer(&mut executor, all.get(b.clone()).unwrap_or_default()))
        })?;
        let how = if budget == usize::MAX { "one batch".to_owned() } else { format!("batches of ≤ {budget} tokens") };
        rows.push((format!("Sortie, {how}"), seconds));
    }
    rows.extend(padded(common, shape, &lengths)?);
    rows.extend(rivals::torch(common, shape.name(), &lengths)?);
    println!("| 200 pairs, {tokens} tokens | ms | tokens/s | × the best of Sortie |");
    println!("| --- | ---: | ---: | ---: |");
    let best = rows.iter().filter(|(n, _)| n.starts_with("Sortie")).map(|(_, s)| *s).fold(f64::INFINITY, f64::min);
    for (name, seconds) in &rows {
        println!("| {name} | {:.2} | {:.0} | {:.2} |", seconds * 1e3, tokens as f64 / seconds, seconds / best);
    }

    println!("\n| pairs of 128 tokens | captured ms | eager ms |\n| --- | ---: | ---: |");
    let mut eager = eager(common, &model)?;
    for count in SMALL {
        let work = items(vec![(0..128).map(|i| 2_000 + i).collect(); count]);
        let batch: Vec<&WorkItem> = work.iter().collect();
        let fast = timed(common.rounds * 5, || answer(&mut executor, &batch))?;
        let slow = timed(common.rounds * 5, || answer(&mut eager, &batch))?;
        println!("| {count} | {:.3} | {:.3} |", fast * 1e3, slow * 1e3);
    }
    drop(eager);

    let (rate, time) = pipelined(&mut executor, &work, &lengths)?;
    println!(
        "\nFull load, batches of ≤ 16384 tokens laid out beside the device: {rate:.0} tokens/s, \
         mean gap between batches {:.0} µs of {:.2} ms a batch.",
        time.gap.as_secs_f64() * 1e6 / time.batches.max(1) as f64,
        time.busy.as_secs_f64() * 1e3 / time.batches.max(1) as f64
    );
    drop(executor);
    if common.streams > 1 {
        let together = streams(common, &model, &work, &lengths)?;
        println!(
            "{} sessions side by side, each on a stream of its own: {together:.0} tokens/s together, {:.3} of one's.",
            common.streams,
            together / rate
        );
    }
    Ok(())
}

/// Tokens a second of several sessions on one device, each under full load on a thread of its own.
fn streams(common: &Common, model: &Model, work: &[WorkItem], lengths: &[usize]) -> anyhow::Result<f64> {
    let loaded = Barrier::new(common.streams);
    thread::scope(|scope| {
        let one = || {
            let executor = Executor::on(model, common.device);
            // Before the error is looked at: the others wait for this one.
            loaded.wait();
            Ok(pipelined(&mut executor?, work, lengths)?.0)
        };
        let running: Vec<_> = (0..common.streams).map(|_| scope.spawn(one)).collect();
        let rates = running.into_iter().map(|r| r.join().unwrap_or_else(|_| bail!("a session's thread panicked")));
        rates.sum()
    })
}

/// The same model without captured graphs.
fn eager(common: &Common, model: &Model) -> anyhow::Result<Executor> {
    let mut executor = Executor::on(model, common.device)?;
    // Not captured: the shapes of its batches are the same, its kernels are launched one by one.
    answer(&mut executor, &[])?;
    Ok(executor)
}

/// Work items of these ids that want scores.
pub(crate) fn items(ids: Vec<Vec<u32>>) -> Vec<WorkItem> {
    let item = |ids| WorkItem { sequence: Sequence { ids, ..Sequence::default() }, want: Want::Logits };
    ids.into_iter().map(item).collect()
}

pub(crate) fn answer(executor: &mut Executor, batch: &[&WorkItem]) -> anyhow::Result<()> {
    for given in executor.run(batch) {
        given?;
    }
    Ok(())
}

/// Median seconds of `rounds` runs, after two that do not count.
pub(crate) fn timed(rounds: usize, mut run: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    run()?;
    run()?;
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds.max(1) {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(quantile(&times, 0.5))
}

/// What a device did with its time over some batches.
#[derive(Default)]
struct DeviceTime {
    batches: u64,
    /// At work.
    busy: Duration,
    /// Between the end of a batch and the start of the next.
    gap: Duration,
}

/// Batches laid out by another thread while the device runs: tokens a second, and the device's time.
fn pipelined(executor: &mut Executor, work: &[WorkItem], lengths: &[usize]) -> anyhow::Result<(f64, DeviceTime)> {
    let batches = batches_in_order(lengths, 16_384);
    let host = executor.host();
    thread::scope(|scope| {
        let (send, receive) = mpsc::sync_channel(1);
        let of_lay = std::sync::Arc::clone(&host);
        scope.spawn(move || {
            for i in 0..2 * PIPELINED {
                let Some(range) = batches.get(i % batches.len()) else { return };
                let part: Vec<&WorkItem> = work.get(range.clone()).unwrap_or_default().iter().collect();
                let batch = of_lay.prepare(&part);
                let tokens: usize = part.iter().map(|i| i.sequence.len()).sum();
                if send.send((batch, part, tokens)).is_err() {
                    return;
                }
            }
        });
        let (mut start, mut ended, mut tokens) = (Instant::now(), Instant::now(), 0);
        let mut time = DeviceTime::default();
        for i in 0..2 * PIPELINED {
            if i == PIPELINED {
                (start, tokens, time) = (Instant::now(), 0, DeviceTime::default());
            }
            let (batch, part, n) = receive.recv().context("the thread that lays out ended")?;
            let started = Instant::now();
            let raw = executor.run_batch(batch)?;
            time.batches += 1;
            time.gap += started.saturating_duration_since(ended);
            ended = Instant::now();
            time.busy += ended.saturating_duration_since(started);
            ensure!(host.finish(&part, raw).iter().all(Result::is_ok), "an item failed");
            tokens += n;
        }
        Ok((tokens as f64 / start.elapsed().as_secs_f64(), time))
    })
}

/// The same shape as a padded ONNX graph on the generic path, batches padded here.
fn padded(common: &Common, shape: ModelShape, lengths: &[usize]) -> anyhow::Result<Vec<(String, f64)>> {
    let Some(folder) = rivals::padded_graph(common, shape)? else { return Ok(Vec::new()) };
    let options = LoadOptions { prefer_onnx: true, ..common.options()? };
    let model = Model::open(folder.path(), &options)?;
    let mut executor = Executor::new(&model)?;
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable();
    let mut rows = Vec::new();
    for (how, order) in [("arrival order", lengths.to_vec()), ("sorted", sorted)] {
        // Equal lengths: the padding is in the ids, so that nothing sorts or cuts what is padded here.
        let batches: Vec<Vec<WorkItem>> = order
            .chunks(PADDED_ROWS)
            .map(|chunk| {
                let longest = chunk.iter().copied().max().unwrap_or(1);
                items(chunk.iter().map(|_| (0..longest as u32).map(|i| 2_000 + i).collect()).collect())
            })
            .collect();
        let seconds = timed(common.rounds, || {
            batches.iter().try_for_each(|b| answer(&mut executor, &b.iter().collect::<Vec<_>>()))
        })?;
        rows.push((format!("ONNX Runtime, padded, {how}, ≤ {PADDED_ROWS}"), seconds));
    }
    Ok(rows)
}
