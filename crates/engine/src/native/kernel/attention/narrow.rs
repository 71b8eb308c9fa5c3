//! Attention whose products are in bf16, on a processor's matrix units (`sortie-gemm`): for layers without anything by distance.

use std::ops::Range;

use sortie_gemm::{HeadRows, HeadShape, Unit, WeightFormat, attend_head};

use super::{
    AttentionRules, HeadQueries,
    load::{biased, finish},
};

/// The unit that does it here, where it is faster than f32. Tests take whatever there is.
pub(crate) fn unit() -> Option<Unit> {
    let unit = Unit::of(WeightFormat::Bf16);
    (cfg!(test) || unit.is_fast(WeightFormat::Bf16)).then_some(unit)
}

/// Whether it does these rules.
pub(crate) fn takes(rules: &AttentionRules<'_>) -> bool {
    rules.by_distance.is_none() && rules.vectors.is_none()
}

/// [`attend`](super::attend) in bf16.
pub(crate) fn attend(
    unit: Unit,
    task: &HeadQueries,
    rules: &AttentionRules<'_>,
    qkv: &[f32],
    bias: &[f32],
    write: &mut dyn FnMut(usize, &[f32]),
) {
    let seen = rules.sight.of(&task.queries, task.keys);
    let shape = HeadShape { size: rules.columns.size, queries: task.queries.len(), keys: seen.len() };
    let first = task.start + task.queries.start;
    let rows = TaskRows { task, rules, qkv, bias, seen };
    attend_head(unit, shape, &rows, &mut |i, numbers| write(first + i, numbers));
}

struct TaskRows<'a> {
    task: &'a HeadQueries,
    rules: &'a AttentionRules<'a>,
    qkv: &'a [f32],
    bias: &'a [f32],
    /// Places of the keys that any query of the task sees.
    seen: Range<usize>,
}

impl TaskRows<'_> {
    /// The part of a place's token that begins at column `at`, its bias added.
    fn part(&self, place: usize, at: usize, to: &mut [f32]) {
        let token = (self.task.start + place) * self.rules.columns.width();
        biased(to, &self.qkv[token + at..][..to.len()], &self.bias[at..]);
    }
}

impl HeadRows for TaskRows<'_> {
    fn query(&self, i: usize, to: &mut [f32]) {
        let place = self.task.queries.start + i;
        self.part(place, self.rules.columns.of(self.task.head)[0], to);
        finish(to, self.rules.norms.map(|n| (n, n.query)), self.rules.rotation, place);
        to.iter_mut().for_each(|x| *x *= self.rules.scale);
    }

    fn key(&self, j: usize, to: &mut [f32]) {
        let place = self.seen.start + j;
        self.part(place, self.rules.columns.of(self.task.head)[1], to);
        finish(to, self.rules.norms.map(|n| (n, n.key)), self.rules.rotation, place);
    }

    fn value(&self, j: usize, to: &mut [f32]) {
        self.part(self.seen.start + j, self.rules.columns.of(self.task.head)[2], to);
    }

    fn seen(&self, i: usize) -> Range<usize> {
        let place = self.task.queries.start + i;
        let seen = self.rules.sight.of(&(place..place + 1), self.task.keys);
        if seen.is_empty() { 0..0 } else { seen.start - self.seen.start..seen.end - self.seen.start }
    }
}
