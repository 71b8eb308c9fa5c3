//! TFLOP/s of each unit of this machine, or of those that are named, by format and shape:
//! `cargo run --release -p sortie-gemm --example kernels [AMX …]`.
//!
//! A product is `x·W + b` from f32 to f32, conversion included; a layer is what [`LayerRest`] does. First, each unit's largest
//! error against f64 in parts of the product's size. The peak of a core is what a loop of the unit's products without memory
//! would give; it is not measured here.

use std::{sync::Barrier, time::Instant};

use sortie_gemm::{
    Act, Attended, HeadRows, HeadShape, KeptProduct, KeptWeight, LayerNorms, LayerOutput, LayerRest, PackError,
    RowNorm, Unit, WeightFormat, Widening, attend_head,
};

/// Rows of a batch: what the engine takes together on a processor.
const ROWS: usize = 1_024;
/// Seconds of a measurement; the best of [`TIMES`] counts.
const SECONDS: f64 = 0.05;
const TIMES: usize = 3;

fn main() -> Result<(), PackError> {
    for unit in Unit::ALL {
        println!("{:<12} {}", unit.name(), if unit.is_here() { "here" } else { "not here: its rows are not measured" });
    }
    let named: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |unit: Unit| named.is_empty() || named.iter().any(|name| name == unit.name());
    let here = |unit: &Unit| unit.is_here() && *unit != Unit::Portable && wanted(*unit);
    let kinds = Unit::ALL.into_iter().filter(here).flat_map(|unit| {
        WeightFormat::ALL.into_iter().filter(move |&format| unit.makes(format)).map(move |format| (unit, format))
    });
    let kinds: Vec<_> = kinds.collect();
    println!("\nlargest error against f64, in parts of the largest answer (64 × 771 × 96)");
    for &(unit, format) in &kinds {
        println!("{:<12} {:<7} {:.2e}", unit.name(), format.name(), error(unit, format)?);
    }
    println!("\n{ROWS} rows, TFLOP/s (2·rows·K·N a product, one product whatever its parts)");
    println!("{:<12} {:<7} {:>18} {:>8} {:>8}", "unit", "format", "shape", "1 thread", "2");
    for &(unit, format) in &kinds {
        for [k, n] in [[384, 1_152], [384, 384], [384, 1_536], [1_536, 384], [768, 2_304], [768, 3_072], [3_072, 768]] {
            let weight = KeptWeight::on(unit, format, [k, n], &numbers(1, k * n), &numbers(2, n))?;
            let product = KeptProduct::new(weight);
            let operations = (2 * ROWS * k * n) as f64;
            let one = |count| {
                operations
                    / seconds(count, &|rows: usize| {
                        let (x, mut to) = (numbers(3, rows * k), vec![0.0; rows * n]);
                        let product = &product;
                        move || product.run(&x, &mut to)
                    })
                    / 1e12
            };
            println!(
                "{:<12} {:<7} {:>18} {:>8.3} {:>8.3}",
                unit.name(),
                format.name(),
                format!("{k} × {n}"),
                one(1),
                one(2)
            );
        }
        for (hidden, inner) in [(384, 1_536), (768, 3_072)] {
            let layer = layer(unit, format, hidden, inner)?;
            let operations = (2 * ROWS * (hidden * hidden + 2 * hidden * inner)) as f64;
            let one = |count| {
                operations
                    / seconds(count, &|rows: usize| {
                        let (x, mut to) = (numbers(3, rows * hidden), vec![0.0; rows * hidden]);
                        let layer = &layer;
                        move || layer.run(Attended::Numbers(&x), &x, LayerOutput { read: &mut to, sum: None })
                    })
                    / 1e12
            };
            let shape = format!("layer {hidden}/{inner}");
            println!("{:<12} {:<7} {shape:>18} {:>8.3} {:>8.3}", unit.name(), format.name(), one(1), one(2));
        }
    }
    println!("\nattention in bf16, {ROWS} tokens in texts of so many, 12 heads of 32 or 64: µs a token");
    for unit in [Unit::Amx, Unit::Avx512Bf16, Unit::Avx2].into_iter().filter(here) {
        for (size, tokens) in [(32, 32), (32, 128), (32, 512), (64, 128), (64, 512)] {
            let heads = MadeUpHeads { size, numbers: numbers(4, tokens * size) };
            let shape = HeadShape { size, queries: tokens, keys: tokens };
            let one = |count| {
                let all = seconds(count, &|rows: usize| {
                    let heads = &heads;
                    move || (0..12 * rows / tokens).for_each(|_| attend_head(unit, shape, heads, &mut |_, _| ()))
                });
                all * 1e6 / ROWS as f64
            };
            println!("{:<12} {:>18} {:>8.3} {:>8.3}", unit.name(), format!("{size}, {tokens} tokens"), one(1), one(2));
        }
    }
    Ok(())
}

/// A head whose queries, keys and values are the same.
struct MadeUpHeads {
    size: usize,
    numbers: Vec<f32>,
}

impl HeadRows for MadeUpHeads {
    fn query(&self, i: usize, to: &mut [f32]) {
        to.copy_from_slice(&self.numbers[i * self.size..][..self.size]);
    }

    fn key(&self, j: usize, to: &mut [f32]) {
        self.query(j, to);
    }

    fn value(&self, j: usize, to: &mut [f32]) {
        self.query(j, to);
    }

    fn seen(&self, _: usize) -> std::ops::Range<usize> {
        0..self.numbers.len() / self.size
    }
}

/// Seconds of [`ROWS`] rows shared among `threads`, the best of some.
fn seconds<F: FnMut() + Send>(threads: usize, work: &(dyn Fn(usize) -> F + Sync)) -> f64 {
    let barrier = Barrier::new(threads);
    let each = || {
        let mut run = work(ROWS / threads);
        run();
        let mut best = f64::INFINITY;
        for _ in 0..TIMES {
            barrier.wait();
            let (start, mut count) = (Instant::now(), 0);
            while start.elapsed().as_secs_f64() < SECONDS {
                run();
                count += 1;
            }
            best = best.min(start.elapsed().as_secs_f64() / f64::from(count));
        }
        best
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(each)).collect();
        all.into_iter().filter_map(|thread| thread.join().ok()).fold(0.0, f64::max)
    })
}

fn error(unit: Unit, format: WeightFormat) -> Result<f64, PackError> {
    let [rows, k, n] = [64, 771, 96];
    let (x, w) = (numbers(5, rows * k), numbers(6, k * n));
    let product = KeptProduct::new(KeptWeight::on(unit, format, [k, n], &w, &[])?);
    let mut to = vec![0.0; rows * n];
    product.run(&x, &mut to);
    let (mut error, mut size) = (0.0_f64, 0.0_f64);
    for (row, to) in x.chunks_exact(k).zip(to.chunks_exact(n)) {
        for (c, y) in to.iter().enumerate() {
            let column = w.iter().skip(c).step_by(n);
            let truth: f64 = row.iter().zip(column).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            error = error.max((f64::from(*y) - truth).abs());
            size = size.max(truth.abs());
        }
    }
    Ok(error / size)
}

fn layer(unit: Unit, format: WeightFormat, hidden: usize, inner: usize) -> Result<LayerRest, PackError> {
    let weight = |k: usize, n: usize| KeptWeight::on(unit, format, [k, n], &numbers(1, k * n), &numbers(2, n));
    let norm = RowNorm { weight: vec![1.0; hidden], bias: vec![0.0; hidden], is_centred: true, eps: 1e-12 };
    let norms = LayerNorms::Post { attention: norm.clone(), feed_forward: norm };
    let widening = Widening::Plain { up: weight(hidden, inner)?, act: Act::Gelu };
    LayerRest::new(weight(hidden, hidden)?, widening, weight(inner, hidden)?, norms)
}

/// Numbers that look random, between −1 and 1.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
