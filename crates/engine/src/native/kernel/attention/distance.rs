//! What the distance of a key to its query adds to a score.

use std::ops::Range;

use pulp::Simd;

use super::{
    AttentionRules, HeadQueries, MOST_QUERIES, VECTORS,
    load::Loaded,
    tile::{products, store},
};

/// A number a distance and head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByDistance<'a> {
    /// (heads × 2·reach + 1), from the furthest key before the query to the furthest behind it; those further away share the
    /// last number of their side.
    pub(crate) table: &'a [f32],
    pub(crate) reach: usize,
}

/// DeBERTa's vectors: what queries meet and what keys meet, by distance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RelativeVectors<'a> {
    /// (heads × size × width) that queries meet, scaled; empty where they meet none.
    pub(crate) keys: &'a [f32],
    /// (heads × size × width) that keys meet.
    pub(crate) queries: &'a [f32],
    pub(crate) width: usize,
    /// (2·reach + 1): column of each distance, from the furthest key before the query on. It never falls.
    pub(crate) columns: &'a [i32],
}

impl RelativeVectors<'_> {
    /// Column of a key `behind` places after its query.
    #[inline(always)]
    fn column(&self, behind: isize) -> usize {
        let reach = (self.columns.len() / 2) as isize;
        self.columns[(behind.clamp(-reach, reach) + reach) as usize] as usize
    }

    /// Columns of all distances of these keys to these queries, rounded to passes.
    #[inline(always)]
    fn columns_of(&self, queries: &Range<usize>, keys: &Range<usize>, pass: usize) -> Range<usize> {
        let lowest = self.column(keys.start as isize - queries.end as isize + 1);
        let highest = self.column(keys.end as isize - 1 - queries.start as isize);
        lowest / pass * pass..(highest + 1).next_multiple_of(pass)
    }
}

/// Keys that meet their vectors together.
const KEYS: usize = 4;

/// Numbers that are made once a task, and once for some queries and keys.
#[derive(Default)]
pub(super) struct DistanceScratch {
    /// What each distance adds, from the last query's to the first key on.
    added: Vec<f32>,
    /// (keys × width) of keys against the vectors they meet.
    of_keys: Vec<f32>,
    /// (queries × width) of some queries against theirs.
    of_queries: Vec<f32>,
}

impl DistanceScratch {
    /// Makes what all tiles of a task share.
    #[inline(always)]
    pub(super) fn begin<S: Simd>(
        &mut self,
        simd: S,
        task: &HeadQueries,
        rules: &AttentionRules<'_>,
        loaded: &Loaded,
        seen: &Range<usize>,
    ) {
        if let Some(ByDistance { table, reach }) = rules.by_distance {
            let own = &table[task.head * (2 * reach + 1)..][..2 * reach + 1];
            let reach = reach as isize;
            let first = seen.start as isize - (task.queries.end as isize - 1);
            let last = seen.end as isize - task.queries.start as isize;
            self.added.clear();
            self.added.extend((first..last).map(|x| own[(x.clamp(-reach, reach) + reach) as usize]));
        }
        let Some(vectors) = rules.vectors else { return };
        let (pass, size) = (VECTORS * S::F32_LANES, rules.columns.size);
        for (buffer, rows) in
            [(&mut self.of_queries, MOST_QUERIES), (&mut self.of_keys, seen.len().next_multiple_of(KEYS))]
        {
            buffer.clear();
            buffer.resize(rows * vectors.width, 0.0);
        }
        if vectors.queries.is_empty() || seen.is_empty() {
            return;
        }
        let own = &vectors.queries[task.head * size * vectors.width..][..size * vectors.width];
        let columns = vectors.columns_of(&task.queries, seen, pass);
        for (j, rows) in (0..seen.len()).step_by(KEYS).zip(self.of_keys.chunks_exact_mut(KEYS * vectors.width)) {
            let key = |d: usize, r: usize| loaded.keys[loaded.place((j + r).min(seen.len() - 1), d)];
            for c in columns.clone().step_by(pass) {
                let stretch = |d: usize| &own[d * vectors.width + c..][..pass];
                store::<S, KEYS>(products(simd, 0..size, key, stretch), rows, vectors.width, c);
            }
        }
    }

    /// Adds what distances give to scores of the queries of places `rows`, which are (queries × wide), the first number of each for the
    /// first of `keys`: those are counted from the first that was loaded, which is at place `loaded_from`.
    #[expect(clippy::too_many_arguments, reason = "a tile's own numbers")]
    #[inline(always)]
    pub(super) fn add<S: Simd, const QUERIES: usize>(
        &mut self,
        simd: S,
        task: &HeadQueries,
        rules: &AttentionRules<'_>,
        (rows, queries): (&Range<usize>, &[[f32; QUERIES]]),
        (keys, loaded_from): (&Range<usize>, usize),
        scores: &mut [f32],
        wide: usize,
    ) {
        if rules.by_distance.is_some() {
            for (query, scores) in rows.clone().zip(scores.chunks_mut(wide)) {
                let from = task.queries.end - 1 - query + keys.start;
                let added = &self.added[from..][..keys.len()];
                scores.iter_mut().zip(added).for_each(|(score, x)| *score += x);
            }
        }
        let Some(vectors) = rules.vectors else { return };
        let (pass, size) = (VECTORS * S::F32_LANES, rules.columns.size);
        let places = keys.start + loaded_from..keys.end + loaded_from;
        if !vectors.keys.is_empty() && !places.is_empty() {
            let own = &vectors.keys[task.head * size * vectors.width..][..size * vectors.width];
            for c in vectors.columns_of(rows, &places, pass).step_by(pass) {
                let stretch = |d: usize| &own[d * vectors.width + c..][..pass];
                let sums = products(simd, 0..size, |d, r| queries[d][r], stretch);
                store::<S, QUERIES>(sums, &mut self.of_queries, vectors.width, c);
            }
        }
        for ((query, scores), of_query) in
            rows.clone().zip(scores.chunks_mut(wide)).zip(self.of_queries.chunks_exact(vectors.width))
        {
            let of_keys = self.of_keys[keys.start * vectors.width..].chunks_exact(vectors.width);
            for ((place, score), of_key) in places.clone().zip(scores).zip(of_keys) {
                let column = vectors.column(place as isize - query as isize);
                *score += of_query[column] + of_key[column];
            }
        }
    }
}
