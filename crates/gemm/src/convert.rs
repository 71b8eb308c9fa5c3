//! From f32 to what units read.

/// The nearest bf16, halves to even; NaN stays NaN.
#[inline(always)]
pub(crate) fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let odd = bits >> 16 & 1;
    let rounded = (bits.wrapping_add(0x7fff + odd) >> 16) as u16;
    // A NaN whose bits all lie below would become an infinity.
    let kept = (bits >> 16) as u16 | 0x40;
    if bits & 0x7fff_ffff > 0x7f80_0000 { kept } else { rounded }
}

/// The number that a bf16 is.
#[inline(always)]
pub(crate) fn widened(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// What a bf16 leaves of `x`, as another.
#[inline(always)]
pub(crate) fn rest(x: f32, high: u16) -> u16 {
    bf16(x - widened(high))
}

/// Largest number of int8 that is used, so that both signs reach equally far.
pub(crate) const MOST: f32 = 127.0;

/// Below this a row or column counts as zeros in int8: its scale's inverse would overflow.
const LEAST: f32 = 1e-35;

/// Scale of numbers whose largest magnitude has these bits, and what they are multiplied by: `x ≈ scale · round(x·by)`.
/// (NaN, 0) where one of them is not finite.
#[inline(always)]
pub(crate) fn scale(most_bits: u32) -> (f32, f32) {
    let most = f32::from_bits(most_bits);
    if most_bits >= f32::INFINITY.to_bits() {
        (f32::NAN, 0.0)
    } else if most < LEAST {
        (0.0, 0.0)
    } else {
        (most / MOST, MOST / most)
    }
}

/// Bits of a magnitude: they order as magnitudes do, NaN above infinity.
#[inline(always)]
pub(crate) fn magnitude(x: f32) -> u32 {
    x.to_bits() & 0x7fff_ffff
}

/// `x·by` as the nearest whole number, halves to even. Within ±127 by the choice of `by`; anything where `by` is 0 and `x` is not finite.
#[inline(always)]
pub(crate) fn int8(x: f32, by: f32) -> i8 {
    /// Adding it leaves the whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    (x * by + ROUND).to_bits() as i8
}
