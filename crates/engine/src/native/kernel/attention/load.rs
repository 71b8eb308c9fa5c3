//! Keys, values and queries of a task out of the projection: biased, normed, rotated, and turned on their side.

use std::ops::Range;

use super::{AttentionRules, HeadNorms, HeadQueries, QUERIES, QueryTile, Rotation};

/// What a task multiplies.
#[derive(Default)]
pub(super) struct Loaded {
    /// (passes × size × pass) keys, scaled: those of a pass side by side, number for number.
    pub(super) keys: Vec<f32>,
    /// (keys × deep) values.
    pub(super) values: Vec<f32>,
    /// One token's numbers.
    one: Vec<f32>,
    size: usize,
    pass: usize,
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
        (self.size, self.pass) = (size, pass);
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
            if plain {
                for (d, (x, b)) in key.iter().zip(key_bias).enumerate() {
                    let at = self.place(j, d);
                    self.keys[at] = (x + b) * rules.scale;
                }
            } else {
                biased(&mut self.one, key, key_bias);
                finish(&mut self.one, rules.norms.map(|n| (n, n.key)), rules.rotation, place);
                for (d, x) in self.one.iter().enumerate() {
                    let at = self.place(j, d);
                    self.keys[at] = x * rules.scale;
                }
            }
            biased(&mut self.values[j * deep..][..size], &token[value_at..][..size], &bias[value_at..][..size]);
        }
    }

    /// Copies a tile's queries into it, at most [`QUERIES`] of them.
    #[inline(always)]
    pub(super) fn load_queries(
        &mut self,
        task: &HeadQueries,
        rules: &AttentionRules<'_>,
        qkv: &[f32],
        bias: &[f32],
        tile: &mut QueryTile,
    ) {
        let size = rules.columns.size;
        tile.queries.clear();
        tile.queries.resize(size, [0.0; QUERIES]);
        let [at, _, _] = rules.columns.of(task.head);
        let width = rules.columns.width();
        for (r, place) in tile.rows.clone().enumerate() {
            let token = &qkv[(task.start + place) * width + at..][..size];
            if rules.norms.is_none() && rules.rotation.is_none() {
                for (q, (x, b)) in tile.queries.iter_mut().zip(token.iter().zip(&bias[at..])) {
                    q[r] = x + b;
                }
                continue;
            }
            biased(&mut self.one, token, &bias[at..][..size]);
            finish(&mut self.one, rules.norms.map(|n| (n, n.query)), rules.rotation, place);
            for (q, x) in tile.queries.iter_mut().zip(&self.one) {
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
