use sortie_gemm::*;
use std::time::Instant;
fn numbers(seed: u64, count: usize, s: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * s
    };
    (0..count).map(|_| next()).collect()
}
fn main() {
    let (hidden, inner) = (384usize, 1536usize);
    let format = WeightFormat::Bf16;
    for s in [1.0f32, 0.1] {
        for act in [Act::Relu, Act::Gelu, Act::GeluTanh, Act::Silu] {
            let weight =
                |k: usize, n: usize| KeptWeight::new(format, [k, n], &numbers(1, k * n, s), &numbers(2, n, s)).unwrap();
            let norm = RowNorm { weight: vec![1.0; hidden], bias: vec![0.0; hidden], is_centred: true, eps: 1e-12 };
            let norms = LayerNorms::Post { attention: norm.clone(), feed_forward: norm };
            let l = LayerRest::new(
                weight(hidden, hidden),
                Widening::Plain { up: weight(hidden, inner), act },
                weight(inner, hidden),
                norms,
            )
            .unwrap();
            let x = numbers(3, 1024 * hidden, 1.0);
            let mut to = vec![0.0; 1024 * hidden];
            let mut best = f64::INFINITY;
            for _ in 0..12 {
                let t = Instant::now();
                l.run(&x, &x, LayerOutput { read: &mut to, sum: None });
                best = best.min(t.elapsed().as_secs_f64());
            }
            println!("{s} {act:?} {:.2} ms", best * 1e3);
        }
    }
    for (k, n) in [(384usize, 1536usize), (1536, 384), (384, 384), (384, 1152)] {
        let p = KeptProduct::new(KeptWeight::new(format, [k, n], &numbers(1, k * n, 1.0), &[]).unwrap());
        let x = numbers(3, 1024 * k, 1.0);
        let mut to = vec![0.0; 1024 * n];
        let mut best = f64::INFINITY;
        for _ in 0..12 {
            let t = Instant::now();
            p.run(&x, &mut to);
            best = best.min(t.elapsed().as_secs_f64());
        }
        println!("{k}x{n} {:.2} ms", best * 1e3);
    }
}
