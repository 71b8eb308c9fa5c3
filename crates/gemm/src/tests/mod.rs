//! Kernels against f64, by every unit: those that this machine lacks are skipped, and say so. AMX's instructions are emulated
//! where there are none ([`emulator`]), so that its kernels are judged everywhere on Linux.

mod attention;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod emulator;
mod layers;
mod products;
mod units;

use crate::{KeptWeight, Unit, WeightFormat};

/// Units that can be run here, the emulated one among them.
fn runnable() -> Vec<Unit> {
    Unit::ALL.into_iter().filter(|&unit| can_run(unit)).collect()
}

fn can_run(unit: Unit) -> bool {
    if unit.is_here() {
        return true;
    }
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    if unit == Unit::Amx {
        return emulator::install();
    }
    eprintln!("SKIPPED: this machine has no {unit}; its kernels are not judged here");
    false
}

/// Every unit with every format it makes.
fn kinds() -> Vec<(Unit, WeightFormat)> {
    let makes = |unit: Unit| WeightFormat::ALL.into_iter().filter(move |&f| unit.makes(f)).map(move |f| (unit, f));
    runnable().into_iter().flat_map(makes).collect()
}

fn weight(unit: Unit, format: WeightFormat, shape: [usize; 2], numbers: &[f32], bias: &[f32]) -> KeptWeight {
    KeptWeight::unchecked(unit, format, shape, numbers, bias).unwrap()
}

/// Numbers that look random, the same each time: between −1 and 1.
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
