//! How queries, keys and values are spread over launches.
//!
//! ONNX Runtime says where each result lies. cublasLt writes several in one launch where
//! they follow each other at one distance, which any two in rising order do. Few rows are
//! a matter of launches: as few as can be. Many rows are a matter of work: queries, which alone have a
//! bias, get a launch of their own, and the others one without.

use super::TOGETHER;

/// Products that go in one launch: `first`, and every `step`th after it, `count` in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Launch {
    pub(super) first: usize,
    pub(super) step: usize,
    pub(super) count: usize,
    /// Bytes from one result to the next.
    pub(super) apart: usize,
}

impl Launch {
    /// Whether there is a bias to add: queries, the first, have one.
    pub(super) fn bias(self) -> bool {
        self.first == 0
    }
}

fn alone(first: usize) -> Launch {
    Launch { first, step: 1, count: 1, apart: 0 }
}

/// The launches for results at these addresses. `few`: of few rows.
pub(super) fn launches(at: [usize; TOGETHER], few: bool) -> impl Iterator<Item = Launch> {
    let pair = |first: usize, second: usize| {
        let apart = at.get(second)?.checked_sub(*at.get(first)?).filter(|&apart| apart > 0)?;
        Some(Launch { first, step: second - first, count: 2, apart })
    };
    let [a, b, c] = at;
    let found = if few && b > a && c > b && c - b == b - a {
        [Some(Launch { first: 0, step: 1, count: TOGETHER, apart: b - a }), None, None]
    } else if let Some(two) = pair(1, 2) {
        [Some(alone(0)), Some(two), None]
    } else if let Some(two) = pair(0, 1).filter(|_| few) {
        [Some(two), Some(alone(2)), None]
    } else if let Some(two) = pair(0, 2).filter(|_| few) {
        [Some(two), Some(alone(1)), None]
    } else {
        [0, 1, 2].map(|i| Some(alone(i)))
    };
    found.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(at: [usize; TOGETHER], few: bool) -> Vec<(usize, usize, usize, usize)> {
        launches(at, few).map(|l| (l.first, l.step, l.count, l.apart)).collect()
    }

    #[test]
    fn few_rows_take_as_few_launches_as_the_places_allow() {
        assert_eq!(of([100, 200, 300], true), [(0, 1, 3, 100)]);
        assert_eq!(of([100, 200, 400], true), [(0, 1, 1, 0), (1, 1, 2, 200)]);
        assert_eq!(of([300, 100, 200], true), [(0, 1, 1, 0), (1, 1, 2, 100)]);
        assert_eq!(of([200, 300, 100], true), [(0, 1, 2, 100), (2, 1, 1, 0)]);
        assert_eq!(of([100, 300, 200], true), [(0, 1, 2, 200), (2, 1, 1, 0)]);
        assert_eq!(of([200, 100, 300], true), [(0, 1, 1, 0), (1, 1, 2, 200)]);
        assert_eq!(of([200, 300, 250], true), [(0, 1, 2, 100), (2, 1, 1, 0)]);
        assert_eq!(of([300, 200, 100], true).len(), 3);
    }

    #[test]
    fn many_rows_add_the_bias_to_queries_alone() {
        assert_eq!(of([100, 200, 300], false), [(0, 1, 1, 0), (1, 1, 2, 100)]);
        assert_eq!(of([100, 300, 200], false).len(), 3);
        assert!(launches([100, 200, 300], false).all(|l| l.bias() == (l.first == 0 && l.count == 1)));
    }

    proptest! {
        #[test]
        fn each_result_is_written_once_and_in_its_place(at in prop::array::uniform3(1usize..1_000), few: bool) {
            let mut seen = [0; TOGETHER];
            for l in launches(at, few) {
                for k in 0..l.count {
                    let i = l.first + k * l.step;
                    prop_assert_eq!(at[l.first] + k * l.apart, at[i]);
                    prop_assert!(i != 0 || l.bias());
                    seen[i] += 1;
                }
            }
            prop_assert_eq!(seen, [1; TOGETHER]);
        }
    }
}
