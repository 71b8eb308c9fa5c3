//! Scores of stretches of words against labels, each text with its own labels.

use ort::{
    Error, Result,
    operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput},
    value::TensorElementType::{Float32, Int32},
};
use pulp::{Arch, Simd, WithSimd};

use super::operator::{OutputRows, boundaries, guarded, input, two};

/// Name of the operator.
pub(crate) const SPAN_SCORES: &str = "SpanScores";
/// Its attribute: words in the longest stretch.
pub(crate) const LONGEST: &str = "longest";

/// First words that one task covers.
const TASK_WORDS: usize = 8;

/// first, last (words × n) f32; labels (labels × n) f32, bias (labels × 1) f32; bounds of the texts' words and of their labels
/// (texts + 1) i32 → f32, text after text (words × longest × labels): `relu(first[a] + last[a + k]) · label + bias`, 0 where
/// the text ends before.
pub(super) struct ScoreSpans;

impl Operator for ScoreSpans {
    type Kernel<'attr> = ScoreSpansKernel;

    fn name(&self) -> &str {
        SPAN_SCORES
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let numbers = || OperatorInput::required(Float32);
        let bounds = || OperatorInput::required(Int32);
        [numbers(), numbers(), numbers(), numbers(), bounds(), bounds()]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> Result<Self::Kernel<'attr>> {
        let longest: i64 = context.get(LONGEST).ok_or_else(|| Error::new("SpanScores has no attribute longest"))?;
        let longest = usize::try_from(longest).ok().filter(|&n| n > 0);
        Ok(ScoreSpansKernel { longest: longest.ok_or_else(|| Error::new("SpanScores: longest is no number above 0"))? })
    }
}

pub(super) struct ScoreSpansKernel {
    longest: usize,
}

/// Some words of one text, and where their scores go.
struct SpanTask {
    words: std::ops::Range<usize>,
    /// The text's last word, and one.
    end: usize,
    labels: std::ops::Range<usize>,
    at: usize,
}

impl Kernel for ScoreSpansKernel {
    fn compute(&mut self, context: &ComputeContext) -> Result<()> {
        let numbers = (0..6).map(|i| input(context, i)).collect::<Result<Vec<_>>>()?;
        let (shape, first) = numbers[0].try_extract_tensor::<f32>()?;
        let [words, n] = two(shape)?;
        let (_, last) = numbers[1].try_extract_tensor::<f32>()?;
        let (shape, labels) = numbers[2].try_extract_tensor::<f32>()?;
        let [count, width] = two(shape)?;
        let (_, bias) = numbers[3].try_extract_tensor::<f32>()?;
        if last.len() != first.len() || width != n || bias.len() != count {
            return Err(Error::new("SpanScores: words and labels do not go together"));
        }
        let word_bounds = boundaries(numbers[4].try_extract_tensor::<i32>()?.1, words)?;
        let label_bounds = boundaries(numbers[5].try_extract_tensor::<i32>()?.1, count)?;
        if word_bounds.len() != label_bounds.len() {
            return Err(Error::new("SpanScores: as many texts have words as have labels"));
        }
        let (mut tasks, mut at) = (Vec::new(), 0);
        for (text, of_labels) in word_bounds.windows(2).zip(label_bounds.windows(2)) {
            for begin in (text[0]..text[1]).step_by(TASK_WORDS) {
                let words = begin..text[1].min(begin + TASK_WORDS);
                let (len, labels) = (words.len(), of_labels[0]..of_labels[1]);
                tasks.push(SpanTask { words, end: text[1], at, labels: labels.clone() });
                at += len * self.longest * labels.len();
            }
        }
        let mut out = context.output(0, [at])?.ok_or_else(|| Error::new("no output"))?;
        let (_, out) = out.try_extract_tensor_mut::<f32>()?;
        let out = OutputRows { at: out.as_mut_ptr(), len: out.len() };
        let longest = self.longest;
        guarded(context, tasks.len(), |task| {
            let SpanTask { words, end, labels: of, at } = &tasks[task];
            let mut scores = vec![0.0; words.len() * longest * of.len()];
            let mut joined = vec![0.0; n];
            let row = |i: usize| i * n..(i + 1) * n;
            for (i, a) in words.clone().enumerate() {
                for b in a..(*end).min(a + longest) {
                    Arch::new().dispatch(JoinedWords { a: &first[row(a)], b: &last[row(b)], to: &mut joined });
                    let scores = &mut scores[(i * longest + b - a) * of.len()..][..of.len()];
                    for (score, label) in scores.iter_mut().zip(of.clone()) {
                        *score = Arch::new().dispatch(RowProduct(&joined, &labels[row(label)])) + bias[label];
                    }
                }
            }
            // SAFETY: each task writes the scores of its own words, and no other's.
            #[expect(unsafe_code, reason = "tasks write disjoint parts of one tensor")]
            unsafe {
                out.write(*at, &scores);
            }
        })
    }
}

/// `relu(a + b)`.
struct JoinedWords<'a> {
    a: &'a [f32],
    b: &'a [f32],
    to: &'a mut [f32],
}

impl WithSimd for JoinedWords<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let zero = simd.splat_f32s(0.0);
        let ((a, a_end), (b, b_end)) = (S::as_simd_f32s(self.a), S::as_simd_f32s(self.b));
        let (to, to_end) = S::as_mut_simd_f32s(self.to);
        for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
            // Not max: it may drop a NaN.
            let sum = simd.add_f32s(*a, *b);
            *to = simd.select_f32s(simd.less_than_f32s(sum, zero), zero, sum);
        }
        for ((to, a), b) in to_end.iter_mut().zip(a_end).zip(b_end) {
            let sum = a + b;
            *to = if sum < 0.0 { 0.0 } else { sum };
        }
    }
}

/// The dot product of two rows, in four sums.
struct RowProduct<'a>(&'a [f32], &'a [f32]);

impl WithSimd for RowProduct<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let ((a, a_end), (b, b_end)) = (S::as_simd_f32s(self.0), S::as_simd_f32s(self.1));
        let mut sums = [simd.splat_f32s(0.0); 4];
        let (fours, rest) = a.as_chunks::<4>();
        let (others, other_rest) = b.as_chunks::<4>();
        for (a, b) in fours.iter().zip(others) {
            for k in 0..4 {
                sums[k] = simd.mul_add_e_f32s(a[k], b[k], sums[k]);
            }
        }
        for (a, b) in rest.iter().zip(other_rest) {
            sums[0] = simd.mul_add_e_f32s(*a, *b, sums[0]);
        }
        let sum = simd.add_f32s(simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3]));
        simd.reduce_sum_f32s(sum) + a_end.iter().zip(b_end).map(|(a, b)| a * b).sum::<f32>()
    }
}
