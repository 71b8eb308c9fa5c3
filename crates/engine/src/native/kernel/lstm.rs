//! The steps of an LSTM each way over the words of each text. A text's numbers do not depend on the others': the words of each
//! are gone through alone, in the same order of sums.

use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput},
    value::TensorElementType::{Float32, Int32},
};
use pulp::{Arch, Simd, WithSimd};

use super::operator::{OutputRows, boundaries, guarded, input, two};

/// Name of the operator.
pub(crate) const PACKED_LSTM: &str = "PackedLstm";

/// Rows of gates are filled up to a multiple of it: the widest vectors, two at a time.
pub(crate) const LSTM_STEP: usize = 32;

/// Rows of the state's product that are added at once, so that sums are loaded and stored less often.
const TOGETHER: usize = 4;

/// gates (words × 2 · step) f32: what is read through its product, biases added, forward then backward; before (2 · size × step)
/// f32: the products of the state a step before; bounds (texts + 1) i32 → (words × 2 · size) f32.
///
/// A row of gates is in, forget, new and out, `size` numbers each, and zeros up to `step`.
pub(super) struct PackedLstm;

impl Operator for PackedLstm {
    type Kernel<'attr> = PackedLstmKernel;

    fn name(&self) -> &str {
        PACKED_LSTM
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32), OperatorInput::required(Float32), OperatorInput::required(Int32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        Ok(PackedLstmKernel)
    }
}

pub(super) struct PackedLstmKernel;

impl Kernel for PackedLstmKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        let (gates, before, bounds) = (input(context, 0)?, input(context, 1)?, input(context, 2)?);
        let (shape, gates) = gates.try_extract_tensor::<f32>()?;
        let [words, both] = two(shape)?;
        let (shape, before) = before.try_extract_tensor::<f32>()?;
        let [rows, step] = two(shape)?;
        let size = rows / 2;
        if both != 2 * step || size == 0 || 4 * size > step || !step.is_multiple_of(LSTM_STEP) {
            return Err(Error::new(format!("{PACKED_LSTM}: {both} gates do not go with a state of {size}")));
        }
        let bounds = boundaries(bounds.try_extract_tensor::<i32>()?.1, words)?;
        let mut out = context.output(0, [words, 2 * size])?.ok_or_else(|| Error::new("no output"))?;
        let (_, out) = out.try_extract_tensor_mut::<f32>()?;
        let out = OutputRows { at: out.as_mut_ptr(), len: out.len() };
        guarded(context, 2 * (bounds.len() - 1), |task| {
            let (text, way) = (task / 2, task % 2);
            let (from, to) = (bounds[text], bounds[text + 1]);
            let mut lstm = LstmSteps::new(&before[way * size * step..][..size * step], size, step);
            let mut one = |word: usize| {
                let state = lstm.go(&gates[word * both + way * step..][..step]);
                // SAFETY: each task writes the rows of its own text, and of those the half of its own way.
                #[expect(unsafe_code, reason = "tasks write disjoint parts of one tensor")]
                unsafe {
                    out.write(word * 2 * size + way * size, state);
                }
            };
            if way == 0 { (from..to).for_each(&mut one) } else { (from..to).rev().for_each(&mut one) }
        })
    }
}

/// An LSTM on its way.
struct LstmSteps<'a> {
    /// (size × step) the state's product.
    before: &'a [f32],
    size: usize,
    state: Vec<f32>,
    cell: Vec<f32>,
    sums: Vec<f32>,
}

impl<'a> LstmSteps<'a> {
    fn new(before: &'a [f32], size: usize, step: usize) -> Self {
        Self { before, size, state: vec![0.0; size], cell: vec![0.0; size], sums: vec![0.0; step] }
    }

    /// Goes one step on and returns the state behind it.
    fn go(&mut self, gates: &[f32]) -> &[f32] {
        self.sums.copy_from_slice(gates);
        Arch::new().dispatch(AddProducts { sums: &mut self.sums, state: &self.state, rows: self.before });
        let (input, rest) = self.sums.split_at(self.size);
        let (forget, rest) = rest.split_at(self.size);
        let (new, out) = rest.split_at(self.size);
        for k in 0..self.size {
            self.cell[k] = sigmoid(forget[k]) * self.cell[k] + sigmoid(input[k]) * new[k].tanh();
            self.state[k] = sigmoid(out[k]) * self.cell[k].tanh();
        }
        &self.state
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Adds `Σ state[k] · rows[k]` to the sums.
struct AddProducts<'a> {
    sums: &'a mut [f32],
    state: &'a [f32],
    rows: &'a [f32],
}

impl WithSimd for AddProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let step = self.sums.len();
        let (sums, _) = S::as_mut_simd_f32s(self.sums);
        let mut states = self.state.chunks_exact(TOGETHER);
        let mut rows = self.rows.chunks_exact(TOGETHER * step);
        for (states, rows) in (&mut states).zip(&mut rows) {
            let x: [S::f32s; TOGETHER] = std::array::from_fn(|k| simd.splat_f32s(states[k]));
            let row = |k: usize| S::as_simd_f32s(&rows[k * step..(k + 1) * step]).0;
            let (a, b, c, d) = (row(0), row(1), row(2), row(3));
            for (((sum, a), b), (c, d)) in sums.iter_mut().zip(a).zip(b).zip(c.iter().zip(d)) {
                let more = simd.mul_add_e_f32s(x[0], *a, *sum);
                let more = simd.mul_add_e_f32s(x[1], *b, more);
                let more = simd.mul_add_e_f32s(x[2], *c, more);
                *sum = simd.mul_add_e_f32s(x[3], *d, more);
            }
        }
        for (x, row) in states.remainder().iter().zip(rows.remainder().chunks_exact(step)) {
            let x = simd.splat_f32s(*x);
            for (sum, a) in sums.iter_mut().zip(S::as_simd_f32s(row).0) {
                *sum = simd.mul_add_e_f32s(x, *a, *sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two steps of a state of five, number by number in f64.
    #[test]
    fn steps_are_those_of_the_formula() {
        let (size, step) = (5, 32);
        let number = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 60.0;
        let before: Vec<f32> = (0..size * step).map(|i| if i % step < 4 * size { number(i) } else { 0.0 }).collect();
        let gates: Vec<Vec<f32>> = (0..2).map(|t| (0..step).map(|i| number(i * 3 + t * 7 + 1)).collect()).collect();
        let (mut state, mut cell) = (vec![0.0_f64; size], vec![0.0_f64; size]);
        let mut steps = LstmSteps::new(&before, size, step);
        for gates in &gates {
            let sums: Vec<f64> = (0..4 * size)
                .map(|j| {
                    let own: f64 = (0..size).map(|k| state[k] * f64::from(before[k * step + j])).sum();
                    own + f64::from(gates[j])
                })
                .collect();
            let s = |x: f64| 1.0 / (1.0 + (-x).exp());
            for k in 0..size {
                cell[k] = s(sums[size + k]) * cell[k] + s(sums[k]) * sums[2 * size + k].tanh();
                state[k] = s(sums[3 * size + k]) * cell[k].tanh();
            }
            let got = steps.go(gates);
            assert!(got.iter().zip(&state).all(|(g, w)| (f64::from(*g) - w).abs() < 1e-6), "{got:?} {state:?}");
        }
    }
}
