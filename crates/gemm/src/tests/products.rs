//! Products against f64, whose bits no company changes.

use proptest::prelude::*;

use super::{kinds, numbers, weight};
use crate::{KeptProduct, Unit, WeightFormat};

/// Bits of an answer, all NaN alike.
fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }).collect()
}

fn run(product: &KeptProduct, x: &[f32]) -> Vec<f32> {
    let [width, columns] = product.weight().shape();
    let mut to = vec![f32::NAN; x.len() / width * columns];
    product.run(x, &mut to);
    to
}

/// Σ|x·w| + |b| bounds what rounding may do.
fn check(unit: Unit, format: WeightFormat, [rows, width, columns]: [usize; 3], seed: u64) {
    let (x, w) = (numbers(seed, rows * width), numbers(seed + 1, width * columns));
    let bias = numbers(seed + 2, columns);
    let product = KeptProduct::new(weight(unit, format, [width, columns], &w, &bias));
    let given = run(&product, &x);
    for r in 0..rows {
        for c in 0..columns {
            let terms = (0..width).map(|k| (f64::from(x[r * width + k]), f64::from(w[k * columns + c])));
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), (x, w)| (sum + x * w, size + (x * w).abs()));
            let truth = sum + f64::from(bias[c]);
            let most = |i: &mut dyn Iterator<Item = f32>| f64::from(i.fold(0.0_f32, |most, x| most.max(x.abs())));
            let bound = match format {
                WeightFormat::F32 => size * 2e-6 + 1e-6,
                // Half a unit of eight bits on each side.
                WeightFormat::Bf16 => size * 0.0079 + 1e-6,
                WeightFormat::Bf16x3 => size * 3e-5 + 1e-6,
                // Half a step of either side, times the other's largest.
                WeightFormat::Int8 => {
                    let row = most(&mut x[r * width..][..width].iter().copied());
                    let column = most(&mut (0..width).map(|k| w[k * columns + c]));
                    width as f64 * row * column * 1.01 / 127.0 + 1e-6
                }
            };
            let error = (f64::from(given[r * columns + c]) - truth).abs();
            assert!(
                error <= bound,
                "{unit} {format} {rows}×{width}×{columns} at {r}, {c}: off by {error}, {bound} allowed"
            );
        }
    }
}

/// Errors of typical products, far below the bounds of the worst.
#[test]
fn formats_are_as_close_as_they_say() {
    let (rows, width, columns) = (16, 768, 32);
    let (x, w) = (numbers(5, rows * width), numbers(6, width * columns));
    for (unit, format) in kinds() {
        let product = KeptProduct::new(weight(unit, format, [width, columns], &w, &[]));
        let given = run(&product, &x);
        let (mut error, mut size) = (0.0, 0.0);
        for (i, &y) in given.iter().enumerate() {
            let (r, c) = (i / columns, i % columns);
            let truth: f64 = (0..width).map(|k| f64::from(x[r * width + k]) * f64::from(w[k * columns + c])).sum();
            error += (f64::from(y) - truth).powi(2);
            size += truth.powi(2);
        }
        let off = (error / size).sqrt();
        let most = match format {
            WeightFormat::F32 => 1e-6,
            WeightFormat::Bf16 => 4e-3,
            WeightFormat::Bf16x3 => 1e-5,
            WeightFormat::Int8 => 1.5e-2,
        };
        assert!(off < most, "{unit} {format}: {off}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn products_are_those_of_f64(rows in 1..50_usize, width in 1..150_usize, columns in 1..70_usize, seed in 1..1_000_u64) {
        for (unit, format) in kinds() {
            check(unit, format, [rows, width, columns], seed);
        }
    }
}

/// Several chunks of K, more rows than a block, odd everything.
#[test]
fn long_rows_and_many_of_them() {
    for (unit, format) in kinds() {
        check(unit, format, [3, 1_031, 33], 9);
        check(unit, format, [147, 65, 17], 10);
    }
}

#[test]
fn no_company_changes_a_bit() {
    let (width, columns) = (421, 75);
    let x = numbers(3, 135 * width);
    for (unit, format) in kinds() {
        let product = KeptProduct::new(weight(unit, format, [width, columns], &numbers(4, width * columns), &[]));
        let together = run(&product, &x);
        for range in [0..1, 134..135, 5..22, 17..134, 31..64] {
            let alone = run(&product, &x[range.start * width..range.end * width]);
            let there = &together[range.start * columns..range.end * columns];
            assert_eq!(bits(&alone), bits(there), "{unit} {format} rows {range:?}");
        }
        // Four threads, each a part of the rows.
        let mut parts = vec![0.0; together.len()];
        std::thread::scope(|scope| {
            for (x, to) in x.chunks(40 * width).zip(parts.chunks_mut(40 * columns)) {
                scope.spawn(|| product.run(x, to));
            }
        });
        assert_eq!(bits(&parts), bits(&together), "{unit} {format} by threads");
    }
}

#[test]
fn a_row_that_is_not_finite_spoils_no_other() {
    let (width, columns) = (70, 40);
    for (unit, format) in kinds() {
        let w: Vec<f32> = numbers(8, width * columns).iter().map(|x| x + 2.0).collect();
        let product = KeptProduct::new(weight(unit, format, [width, columns], &w, &[]));
        let mut x = numbers(7, 5 * width);
        let clean = run(&product, &x);
        x[width + 3] = f32::NAN;
        x[3 * width + 69] = f32::INFINITY;
        let given = run(&product, &x);
        for row in 0..5 {
            let (given, clean) = (&given[row * columns..][..columns], &clean[row * columns..][..columns]);
            match (row, format) {
                (1, _) | (3, WeightFormat::Int8) => assert!(given.iter().all(|x| x.is_nan()), "{unit} {format} {row}"),
                (3, WeightFormat::F32 | WeightFormat::Bf16) => {
                    assert!(given.iter().all(|&x| x == f32::INFINITY), "{unit} {given:?}")
                }
                (3, WeightFormat::Bf16x3) => assert!(given.iter().all(|x| !x.is_finite()), "{unit} {given:?}"),
                _ => assert_eq!(bits(given), bits(clean), "{unit} {format} {row}"),
            }
        }
    }
}

#[test]
fn tiny_numbers_are_told_of() {
    for (unit, format) in kinds() {
        let product = KeptProduct::new(weight(unit, format, [2, 1], &[1e10, 1e10], &[]));
        let small = run(&product, &[1e-30, 1e-30])[0];
        // Times 1e10 a normal number, which all but the units of bf16 see of a denormal too; int8 sees zeros below 1e-35.
        let denormal = run(&product, &[1e-39, 1e-39])[0];
        assert!((small - 2e-20).abs() < 4e-22, "{unit} {format}: {small}");
        let flushes = matches!(unit, Unit::Amx | Unit::Avx512Bf16) || format == WeightFormat::Int8;
        assert!(
            if flushes { denormal == 0.0 } else { (denormal - 2e-29).abs() < 4e-31 },
            "{unit} {format}: {denormal}"
        );
    }
}

#[test]
fn int8_is_exact_in_every_unit() {
    let (rows, width, columns) = (19, 200, 37);
    let (x, w) = (numbers(11, rows * width), numbers(12, width * columns));
    let mut answers = kinds().into_iter().filter(|(_, format)| *format == WeightFormat::Int8).map(|(unit, format)| {
        let product = KeptProduct::new(weight(unit, format, [width, columns], &w, &[]));
        (unit, bits(&run(&product, &x)))
    });
    let (_, first) = answers.next().unwrap();
    for (unit, other) in answers {
        assert_eq!(first, other, "{unit}");
    }
    // The largest numbers with both signs: what saturates at 16 bits elsewhere.
    let product = |unit| KeptProduct::new(weight(unit, WeightFormat::Int8, [128, 1], &[-1.0; 128], &[]));
    for (unit, _) in kinds().into_iter().filter(|(_, format)| *format == WeightFormat::Int8) {
        assert!((run(&product(unit), &[1.0; 128])[0] + 128.0).abs() < 1e-3, "{unit}");
    }
}
