//! Keys, values and queries of a task out of the projection: biased, normed, rotated, and turned on their side.

use std::ops::Range;

use super::{AttentionRules, HeadNorms, HeadQueries, Rotation};

/// What a task multiplies.
#[derive(Default)]
pub(super) struct Loaded {
    /// (passes × size × pass) keys, scaled: those of a pass side by side, number for number.
    pub(super) keys: Vec<f32>,
    /// (passes × keys × pass) values: some numbers of each key in turn, then the next of each.
    values: Vec<f32>,
    /// One token's numbers.
    one: Vec<f32>,
    size: usize,
    pass: usize,
    /// How many keys there are.
    count: usize,
}

impl Loaded {
    /// Where number `d` of key `j` lies.
    #[inline(always)]
    pub(super) fn place(&self, j: usize, d: usize) -> usize {
        (j / self.pass * self.size + d) * self.pass + j % self.pass
    }

    /// The keys of the pass that begins with key `j`: (size × pass).
    #[inline(always)]
    pub(super) fn keys_from(&self, j: usize) -> &[f32] {
        &self.keys[j * self.size..][..self.size * self.pass]
    }

    /// The numbers from `d` on, where a pass begins, of the values of `keys`: (keys × pass).
    #[inline(always)]
    pub(super) fn values_from(&self, d: usize, keys: &Range<usize>) -> &[f32] {
        &self.values[d * self.count + keys.start * self.pass..][..keys.len() * self.pass]
    }

    /// Copies the keys and values of places `seen` in.
    #[inline(always)]
    pub(super) fn load(
        &mut self,
        task: &HeadQueries,
        rules: &AttentionRules<'_>,
        qkv: &[f32],
        bias: &[f32],
        seen: Range<usize>,
        (pass, wide, deep): (usize, usize, usize),
    ) {
        let size = rules.columns.size;
        (self.size, self.pass, self.count) = (size, pass, seen.len());
        for (buffer, length) in
            [(&mut self.keys, size * wide), (&mut self.values, seen.len() * deep), (&mut self.one, size)]
        {
            buffer.clear();
            buffer.resize(length, 0.0);
        }
        let [_, key_at, value_at] = rules.columns.of(task.head);
        let width = rules.columns.width();
        let plain = rules.norms.is_none() && rules.rotation.is_none();
        for (j, place) in seen.enumerate() {
            let token = &qkv[(task.start + place) * width..][..width];
            let (key, key_bias) = (&token[key_at..][..size], &bias[key_at..][..size]);
            let first = self.place(j, 0);
            if plain {
                for (to, (x, b)) in self.keys[first..].iter_mut().step_by(pass).zip(key.iter().zip(key_bias)) {
                    *to = (x + b) * rules.scale;
                }
            } else {
                biased(&mut self.one, key, key_bias);
                finish(&mut self.one, rules.norms.map(|n| (n, n.key)), rules.rotation, place);
                for (to, x) in self.keys[first..].iter_mut().step_by(pass).zip(&self.one) {
                    *to = x * rules.scale;
                }
            }
            let (value, value_bias) = (&token[value_at..][..size], &bias[value_at..][..size]);
            for (d, (value, bias)) in value.chunks(pass).zip(value_bias.chunks(pass)).enumerate() {
                biased(&mut self.values[(d * self.count + j) * pass..][..value.len()], value, bias);
            }
        }
    }

    /// Copies queries of places `rows` to `to` (size × queries), turned; zeros where there are fewer.
    #[inline(always)]
    pub(super) fn load_queries<const QUERIES: usize>(
        &mut self,
        task: &HeadQueries,
        rules: &AttentionRules<'_>,
        qkv: &[f32],
        bias: &[f32],
        rows: Range<usize>,
        to: &mut [[f32; QUERIES]],
    ) {
        let size = rules.columns.size;
        to.fill([0.0; QUERIES]);
        let [at, _, _] = rules.columns.of(task.head);
        let width = rules.columns.width();
        for (r, place) in rows.enumerate().take(QUERIES) {
            let token = &qkv[(task.start + place) * width + at..][..size];
            biased(&mut self.one, token, &bias[at..][..size]);
            finish(&mut self.one, rules.norms.map(|n| (n, n.query)), rules.rotation, place);
            for (q, x) in to.iter_mut().zip(&self.one) {
                q[r] = *x;
            }
        }
    }
}

#[inline(always)]
pub(super) fn biased(to: &mut [f32], numbers: &[f32], bias: &[f32]) {
    for (to, (x, b)) in to.iter_mut().zip(numbers.iter().zip(bias)) {
        *to = x + b;
    }
}

/// Norms a head's numbers, then rotates them by their place.
#[inline(always)]
pub(super) fn finish(
    x: &mut [f32],
    norm: Option<(HeadNorms<'_>, &[f32])>,
    rotation: Option<Rotation<'_>>,
    place: usize,
) {
    if let Some((norms, weight)) = norm {
        let mean = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
        let share = 1.0 / (mean + norms.eps).sqrt();
        x.iter_mut().zip(weight).for_each(|(x, w)| *x = *x * share * w);
    }
    if let Some(Rotation { cos, sin }) = rotation {
        let half = x.len() / 2;
        let (cos, sin) = (&cos[place * half..][..half], &sin[place * half..][..half]);
        let (low, high) = x.split_at_mut(half);
        for ((a, b), (c, s)) in low.iter_mut().zip(high).zip(cos.iter().zip(sin)) {
            (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
        }
    }
}
