//! Attention against its formula in f64, whatever a model asks of it.

use proptest::prelude::*;

use super::{tile, *};

/// What queries meet, what keys meet, columns of distances, and their number.
type Vectors = (Vec<f32>, Vec<f32>, Vec<i32>, usize);

/// All that a layer's attention may be asked, with the numbers that it borrows.
#[derive(Debug)]
struct AttentionCase {
    columns: Columns,
    scale: f32,
    sight: Sight,
    norms: Option<Vec<f32>>,
    rotation: Option<Vec<f32>>,
    by_distance: Option<(Vec<f32>, usize)>,
    vectors: Option<Vectors>,
    task: HeadQueries,
    qkv: Vec<f32>,
    bias: Vec<f32>,
}

const EPS: f32 = 1e-6;

impl AttentionCase {
    fn rules(&self) -> AttentionRules<'_> {
        let size = self.columns.size;
        AttentionRules {
            columns: self.columns,
            scale: self.scale,
            sight: self.sight,
            norms: self.norms.as_ref().map(|n| HeadNorms { query: &n[..size], key: &n[size..], eps: EPS }),
            rotation: self.rotation.as_ref().map(|r| {
                let (cos, sin) = r.split_at(r.len() / 2);
                Rotation { cos, sin }
            }),
            by_distance: self.by_distance.as_ref().map(|(table, reach)| ByDistance { table, reach: *reach }),
            vectors: self.vectors.as_ref().map(|(keys, queries, columns, width)| RelativeVectors {
                keys,
                queries,
                columns,
                width: *width,
            }),
        }
    }

    /// A head's query, key or value of a place, as the formula has it.
    fn part(&self, place: usize, part: usize) -> Vec<f64> {
        let size = self.columns.size;
        let at = self.columns.of(self.task.head)[part];
        let token = (self.task.start + place) * self.columns.width();
        let mut x: Vec<f64> = (0..size).map(|d| f64::from(self.qkv[token + at + d] + self.bias[at + d])).collect();
        if let Some(norms) = self.norms.as_ref().filter(|_| part < 2) {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / size as f64;
            let weight = &norms[part * size..][..size];
            x.iter_mut().zip(weight).for_each(|(x, w)| *x = *x / (mean + f64::from(EPS)).sqrt() * f64::from(*w));
        }
        if let Some(table) = self.rotation.as_ref().filter(|_| part < 2) {
            let (half, sines) = (size / 2, table.len() / 2);
            for m in 0..half {
                let (c, s) = (f64::from(table[place * half + m]), f64::from(table[sines + place * half + m]));
                (x[m], x[m + half]) = (x[m] * c - x[m + half] * s, x[m + half] * c + x[m] * s);
            }
        }
        x
    }

    fn truth(&self) -> Vec<f64> {
        let (size, head) = (self.columns.size, self.task.head);
        let mut out = Vec::new();
        for i in self.task.queries.clone() {
            let q = self.part(i, 0);
            let allowed: Vec<usize> = (0..self.task.keys)
                .filter(|&j| match self.sight {
                    Sight::All => true,
                    Sight::Causal => j <= i,
                    Sight::Window(radius) => i.abs_diff(j) <= radius,
                })
                .collect();
            let score = |&j: &usize| {
                let k = self.part(j, 1);
                let mut s: f64 = q.iter().zip(&k).map(|(q, k)| q * k).sum::<f64>() * f64::from(self.scale);
                let x = j as isize - i as isize;
                let at = |reach: usize| (x.clamp(-(reach as isize), reach as isize) + reach as isize) as usize;
                if let Some((table, reach)) = &self.by_distance {
                    s += f64::from(table[head * (2 * reach + 1) + at(*reach)]);
                }
                if let Some((keys, queries, columns, width)) = &self.vectors {
                    let column = columns[at(columns.len() / 2)] as usize;
                    let vector = |table: &[f32], d: usize| {
                        table.get((head * size + d) * width + column).map_or(0.0, |v| f64::from(*v))
                    };
                    s += (0..size).map(|d| q[d] * vector(keys, d)).sum::<f64>();
                    s += (0..size).map(|d| k[d] * f64::from(self.scale) * vector(queries, d)).sum::<f64>();
                }
                s
            };
            let scores: Vec<f64> = allowed.iter().map(score).collect();
            let most = scores.iter().copied().fold(f64::MIN, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let values: Vec<Vec<f64>> = allowed.iter().map(|&j| self.part(j, 2)).collect();
            out.extend(
                (0..size).map(|d| {
                    weights.iter().zip(&values).map(|(w, v)| w * v[d]).sum::<f64>() / sum.max(f64::MIN_POSITIVE)
                }),
            );
        }
        out
    }

    fn check(&self, run: impl Fn(&HeadQueries, &AttentionRules<'_>, &[f32], &[f32], &mut dyn FnMut(usize, &[f32]))) {
        let (size, first) = (self.columns.size, self.task.start + self.task.queries.start);
        let mut got = vec![f32::NAN; self.task.queries.len() * size];
        run(&self.task, &self.rules(), &self.qkv, &self.bias, &mut |t, x| {
            got[(t - first) * size..][..size].copy_from_slice(x);
        });
        for (g, w) in got.iter().zip(self.truth()) {
            assert!((f64::from(*g) - w).abs() <= 2e-4 * w.abs().max(1.0), "{g} is not {w} in {self:?}");
        }
    }
}

/// Without any vector instructions, as on a CPU that pulp does not know.
fn scalar(
    task: &HeadQueries,
    rules: &AttentionRules<'_>,
    qkv: &[f32],
    bias: &[f32],
    write: &mut dyn FnMut(usize, &[f32]),
) {
    let scratch = &mut AttentionScratch::default();
    Attend { task, rules, qkv, bias, scratch, write }.with_simd(pulp::Scalar);
}

#[derive(Clone, Debug)]
struct Drawn {
    len: usize,
    unseen: usize,
    pairs: usize,
    before: usize,
    each: usize,
    kv_heads: usize,
    head: usize,
    sight: u8,
    extras: [bool; 4],
    reach: usize,
    from: usize,
    seed: u64,
    spread: f32,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let sizes = (1usize..70, 0usize..70, 1usize..35, 0usize..5, 1usize..4, 1usize..3, 0usize..6);
    let rest = (0u8..3, any::<[bool; 4]>(), 0usize..40, 0usize..70, any::<u64>(), 0.1f32..4.0);
    (sizes, rest).prop_map(
        |((len, unseen, pairs, before, each, kv_heads, head), (sight, extras, reach, from, seed, spread))| Drawn {
            len,
            unseen,
            pairs,
            before,
            each,
            kv_heads,
            head,
            sight,
            extras,
            reach,
            from,
            seed,
            spread,
        },
    )
}

fn case(d: &Drawn) -> AttentionCase {
    let mut state = d.seed | 1;
    let mut next = |spread: f32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * spread
    };
    let mut numbers = |n: usize, spread: f32| -> Vec<f32> { (0..n).map(|_| next(spread)).collect() };
    let columns = Columns { heads: d.each * d.kv_heads, kv_heads: d.kv_heads, size: 2 * d.pairs };
    let (size, tokens) = (columns.size, d.before + d.len + 2);
    let [norms, rotation, by_distance, vectors] = d.extras;
    let sight = [Sight::All, Sight::Causal, Sight::Window(d.reach)][usize::from(d.sight)];
    let width = (2 * d.reach + 1).next_multiple_of(WIDEST_PASS);
    let each = columns.heads * size * width;
    let unseen = d.unseen.min(d.len - 1);
    let from = d.from.min(d.len - 1);
    AttentionCase {
        columns,
        scale: 1.0 / (size as f32).sqrt(),
        sight,
        norms: norms.then(|| numbers(2 * size, 2.0)),
        rotation: rotation.then(|| {
            let angles = numbers(d.len * d.pairs, 6.0);
            angles.iter().map(|a| a.cos()).chain(angles.iter().map(|a| a.sin())).collect()
        }),
        by_distance: by_distance.then(|| (numbers(columns.heads * (2 * d.reach + 1), 2.0), d.reach)),
        vectors: vectors.then(|| {
            let columns: Vec<i32> = (0..2 * d.reach as i32 + 1).map(|c| c - c % 2).collect();
            let (keys, queries) = (numbers(each, 0.5), numbers(each, 0.5));
            match d.seed % 3 {
                0 => (keys, Vec::new(), columns, width),
                1 => (Vec::new(), queries, columns, width),
                _ => (keys, queries, columns, width),
            }
        }),
        task: HeadQueries { start: d.before, queries: from..d.len, keys: d.len - unseen, head: d.head % columns.heads },
        qkv: numbers(tokens * columns.width(), d.spread),
        bias: numbers(columns.width(), d.spread),
    }
}

proptest! {
    #[test]
    fn whatever_is_asked_agrees_with_the_formula(drawn in drawn()) {
        let case = case(&drawn);
        case.check(attend);
        case.check(scalar);
    }

    #[test]
    fn exp_is_close(x in -100f32..0.0) {
        let want = if x < -80.0 { 0.0 } else { f64::from(x).exp() };
        let got = tile::exp(pulp::Scalar, x);
        prop_assert!((f64::from(got) - want).abs() <= 3e-7 * want, "{got}");
    }
}

/// A text of one head of four numbers, of which nothing else is asked.
fn plain(len: usize) -> Drawn {
    Drawn {
        len,
        unseen: 0,
        pairs: 2,
        before: 0,
        each: 1,
        kv_heads: 1,
        head: 0,
        sight: 0,
        extras: [false; 4],
        reach: 0,
        from: 0,
        seed: 1,
        spread: 1.0,
    }
}

#[test]
fn several_blocks_agree_with_the_formula() {
    let len = 2 * BLOCK_KEYS + 77;
    for (sight, extras) in (0..3).flat_map(|sight| [[false; 4], [true; 4]].map(|extras| (sight, extras))) {
        let from = len - 70;
        // Wide scores: the largest lies in another block for each query, and what was summed before shrinks to nothing.
        for spread in [1.0, 30.0] {
            let case = case(&Drawn { sight, extras, from, unseen: 9, reach: 300, spread, ..plain(len) });
            case.check(attend);
            case.check(scalar);
        }
    }
}

/// What a query does not see weighs nothing: no number is so small that processors are slow at it.
#[test]
fn unseen_keys_weigh_nothing() {
    let mut case = case(&Drawn { sight: 2, reach: 3, ..plain(40) });
    case.qkv.iter_mut().for_each(|x| *x *= 1e-3);
    let mut bare = case.qkv.clone();
    // Values of the keys beyond the window of the first query.
    for token in bare.chunks_exact_mut(12).take(40).skip(4) {
        token[8..].fill(1e30);
    }
    let first = |qkv: &[f32]| {
        let mut out = Vec::new();
        let task = HeadQueries { queries: 0..1, ..case.task.clone() };
        let whole = HeadQueries { queries: 0..12, ..case.task.clone() };
        for task in [task, whole] {
            attend(&task, &case.rules(), qkv, &case.bias, &mut |t, x| {
                if t == 0 {
                    out.extend(x.iter().map(|x| x.to_bits()));
                }
            });
        }
        out
    };
    assert_eq!(first(&case.qkv), first(&bare));
}

#[test]
fn not_a_number_is_passed_on() {
    let mut case = case(&plain(3));
    case.qkv[5] = f32::NAN;
    let mut out = Vec::new();
    attend(&case.task, &case.rules(), &case.qkv, &case.bias, &mut |_, x| out.extend_from_slice(x));
    assert!(out.iter().all(|x| x.is_nan()));
}
