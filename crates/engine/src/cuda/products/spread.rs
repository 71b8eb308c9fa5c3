//! Which of several results can be written by one launch.
//!
//! ONNX Runtime says where each result lies. cublasLt writes several in one launch where
//! they follow each other at one distance, which any two in rising order do.

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

/// The fewest launches for results at these addresses.
pub(super) fn launches(at: [usize; TOGETHER]) -> impl Iterator<Item = Launch> {
    let alone = |first| Launch { first, step: 1, count: 1, apart: 0 };
    let pair = |first: usize, second: usize| {
        let apart = at.get(second)?.checked_sub(*at.get(first)?).filter(|&apart| apart > 0)?;
        Some(Launch { first, step: second - first, count: 2, apart })
    };
    let [a, b, c] = at;
    let found = if b > a && c > b && c - b == b - a {
        [Some(Launch { first: 0, step: 1, count: TOGETHER, apart: b - a }), None, None]
    } else if let Some(two) = pair(0, 1) {
        [Some(two), Some(alone(2)), None]
    } else if let Some(two) = pair(1, 2) {
        [Some(two), Some(alone(0)), None]
    } else if let Some(two) = pair(0, 2) {
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

    fn of(at: [usize; TOGETHER]) -> Vec<(usize, usize, usize, usize)> {
        launches(at).map(|l| (l.first, l.step, l.count, l.apart)).collect()
    }

    #[test]
    fn as_few_launches_as_the_places_allow() {
        assert_eq!(of([100, 200, 300]), [(0, 1, 3, 100)]);
        assert_eq!(of([100, 200, 400]), [(0, 1, 2, 100), (2, 1, 1, 0)]);
        assert_eq!(of([300, 100, 200]), [(1, 1, 2, 100), (0, 1, 1, 0)]);
        assert_eq!(of([200, 100, 300]), [(1, 1, 2, 200), (0, 1, 1, 0)]);
        assert_eq!(of([200, 300, 100]), [(0, 1, 2, 100), (2, 1, 1, 0)]);
        assert_eq!(of([300, 200, 100]).len(), 3);
    }

    proptest! {
        #[test]
        fn each_result_is_written_once_and_in_its_place(at in prop::array::uniform3(1usize..1_000)) {
            let mut seen = [0; TOGETHER];
            for l in launches(at) {
                for k in 0..l.count {
                    let i = l.first + k * l.step;
                    prop_assert_eq!(at[l.first] + k * l.apart, at[i]);
                    seen[i] += 1;
                }
            }
            prop_assert_eq!(seen, [1; TOGETHER]);
        }
    }
}
