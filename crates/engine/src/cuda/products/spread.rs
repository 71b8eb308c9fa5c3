//! How queries, keys and values are spread over launches.
//!
//! ONNX Runtime says where each result lies. cublasLt writes several in one launch where
//! they follow each other at one distance, which any two in rising order do. Few rows are
//! a matter of launches: as few as can be. Many rows are a matter of work: queries, which alone have a
//! bias, get a launch of their own, and the others one without.

use super::TOGETHER;

/// Products that go in one launch: `count` of them, from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Launch {
    pub(super) first: usize,
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

/// The launches for results at these addresses. `few`: of few rows.
///
/// Queries and values alone never go together: where values lie behind queries, keys lie behind queries or before
/// values, and one of the other pairs rises.
pub(super) fn launches(at: [usize; TOGETHER], few: bool) -> impl Iterator<Item = Launch> {
    let [query, key, value] = at;
    let alone = |first| Launch { first, count: 1, apart: 0 };
    let rise = |a: usize, b: usize| b.checked_sub(a).filter(|&apart| apart > 0);
    let found = match (rise(query, key).filter(|_| few), rise(key, value)) {
        (Some(apart), Some(next)) if apart == next => [Some(Launch { first: 0, count: TOGETHER, apart }), None, None],
        (_, Some(apart)) => [Some(alone(0)), Some(Launch { first: 1, count: 2, apart }), None],
        (Some(apart), None) => [Some(Launch { first: 0, count: 2, apart }), Some(alone(2)), None],
        (None, None) => [0, 1, 2].map(|i| Some(alone(i))),
    };
    found.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(at: [usize; TOGETHER], few: bool) -> Vec<(usize, usize, usize)> {
        launches(at, few).map(|l| (l.first, l.count, l.apart)).collect()
    }

    #[test]
    fn few_rows_take_as_few_launches_as_the_places_allow() {
        assert_eq!(of([100, 200, 300], true), [(0, 3, 100)]);
        assert_eq!(of([100, 200, 400], true), [(0, 1, 0), (1, 2, 200)]);
        assert_eq!(of([300, 100, 200], true), [(0, 1, 0), (1, 2, 100)]);
        assert_eq!(of([200, 300, 100], true), [(0, 2, 100), (2, 1, 0)]);
        assert_eq!(of([100, 300, 200], true), [(0, 2, 200), (2, 1, 0)]);
        assert_eq!(of([200, 100, 300], true), [(0, 1, 0), (1, 2, 200)]);
        assert_eq!(of([300, 200, 100], true).len(), 3);
    }

    #[test]
    fn many_rows_add_the_bias_to_queries_alone() {
        assert_eq!(of([100, 200, 300], false), [(0, 1, 0), (1, 2, 100)]);
        assert_eq!(of([100, 300, 200], false).len(), 3);
        assert!(launches([100, 200, 300], false).all(|l| l.bias() == (l.first == 0 && l.count == 1)));
    }

    proptest! {
        #[test]
        fn each_result_is_written_once_and_in_its_place(at in prop::array::uniform3(1usize..1_000), few: bool) {
            let mut seen = [0; TOGETHER];
            for l in launches(at, few) {
                for i in l.first..l.first + l.count {
                    prop_assert_eq!(at[l.first] + (i - l.first) * l.apart, at[i]);
                    prop_assert!(i != 0 || l.bias());
                    seen[i] += 1;
                }
            }
            prop_assert_eq!(seen, [1; TOGETHER]);
        }

        #[test]
        fn three_launches_only_where_no_two_rise(at in prop::array::uniform3(1usize..1_000)) {
            let [q, k, v] = at;
            prop_assert_eq!(of(at, true).len() == 3, !(q < k || k < v));
        }
    }
}
