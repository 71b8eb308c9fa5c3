//! One row a sequence from many rows of tokens, by standard operators, so that a
//! device which has none of ours sends a few rows back instead of all.
//!
//! *Mean*: `(member · x) · share`, where `member[s, t]` is 1 where token `t` belongs
//! to sequence `s`, made on the device from two rows of numbers, and `share[s]` is
//! one over the sequence's length. In f32: a sum of 512 f16 numbers loses bits.
//!
//! *Largest*: after step `k` row `i` holds the largest of rows `i..i + 2^(k+1)`, never
//! past its group's last: `x ← max(x, x[min(i + 2^k, last[i])])`. Repeats change no
//! maximum, so after ⌈log2 n⌉ steps the first row of each group holds that group's
//! largest. ONNX Runtime's own reductions would need cuDNN, which nothing else here does.
//!
//! *Largest of a wide row* (a vocabulary a token): rows are first taken in chunks of
//! [`CHUNK`] tokens of one sequence, filled up with repeats of its last token, and
//! halved five times; the steps above then run over chunks, a 32nd of the rows.

use super::names::input;
use crate::onnx::{Attr, Builder, Edge, Elem, ONNX, Size};

/// Tokens in a chunk: the fill costs half a chunk a sequence, each halving half of the last.
pub(crate) const CHUNK: usize = 32;

/// Mean of each sequence's rows; `x` is f32.
pub(crate) fn mean(b: &mut Builder, edge: &str, x: &str) -> Edge {
    let owner = b.input(input::OWNER, Elem::I32, &[Size::Of(1), Size::Named("tokens")]);
    let sequence = b.input(input::SEQUENCE, Elem::I32, &[Size::Named("sequences"), Size::Of(1)]);
    let share = b.input(input::SHARE, Elem::F32, &[Size::Named("sequences"), Size::Of(1)]);
    let member = b.node(ONNX, "Equal", &format!("{edge}_member"), &[&sequence, &owner], &[]);
    let to = Attr::Int("to", Elem::F32 as i64);
    let member = b.node(ONNX, "Cast", &format!("{edge}_member_f32"), &[&member], &[to]);
    let sum = b.node(ONNX, "MatMul", &format!("{edge}_sum"), &[&member, x], &[]);
    b.node(ONNX, "Mul", edge, &[&sum, &share], &[])
}

/// Largest of each group's rows; no group has more than `most` of them.
pub(crate) fn largest(b: &mut Builder, edge: &str, x: &str, most: usize) -> Edge {
    let row = b.input(input::ROW, Elem::I32, &[Size::Named("rows")]);
    let last = b.input(input::LAST, Elem::I32, &[Size::Named("rows")]);
    let group = b.input(input::GROUP, Elem::I32, &[Size::Named("sequences")]);
    let mut x = x.to_owned();
    for k in 0..steps(most) {
        let far = b.small_i32(&format!("pool/step{k}"), 1 << k);
        let at = |part: &str| format!("{edge}_{part}{k}");
        let ahead = b.node(ONNX, "Add", &at("ahead"), &[&row, &far], &[]);
        let ahead = b.node(ONNX, "Min", &at("within"), &[&ahead, &last], &[]);
        let other = b.node(ONNX, "Gather", &at("other"), &[&x, &ahead], &[]);
        x = b.node(ONNX, "Max", &at("most"), &[&x, &other], &[]);
    }
    b.node(ONNX, "Gather", edge, &[&x, &group], &[])
}

/// Takes rows of `x` into chunks, place by place: (32 · chunks × width).
pub(crate) fn chunked(b: &mut Builder, edge: &str, x: &str) -> Edge {
    let index = b.input(input::CHUNKED, Elem::I32, &[Size::Named("places")]);
    b.node(ONNX, "Gather", edge, &[x, &index], &[])
}

/// Largest of each chunk: (32 · chunks × width) to (chunks × width). The places of
/// a chunk lie a whole number of rows apart, so that halves are contiguous.
pub(crate) fn largest_of_chunks(b: &mut Builder, edge: &str, x: &str) -> Edge {
    let mut x = x.to_owned();
    for k in 0..steps(CHUNK) {
        let (low, high) = (format!("{edge}_low{k}"), format!("{edge}_high{k}"));
        b.nodes(ONNX, "Split", &[&low, &high], &[&x], &[Attr::Int("axis", 0)]);
        x = b.node(ONNX, "Max", &format!("{edge}_half{k}"), &[&low, &high], &[]);
    }
    x
}

/// Chunks of a sequence of `tokens`.
pub(crate) fn chunks(tokens: usize) -> usize {
    tokens.div_ceil(CHUNK)
}

/// ⌈log2 n⌉, at least 0.
fn steps(n: usize) -> u32 {
    n.max(1).next_power_of_two().ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_reach_every_row() {
        for n in 1..2_000usize {
            let reach = 1usize << steps(n);
            assert!(reach >= n && (n == 1 || reach < 2 * n), "{n}");
        }
        assert_eq!(1 << steps(CHUNK), CHUNK, "chunks are halved evenly");
    }
}
