//! Rotary positions: frequencies, and the table that attention takes.

/// Rotary positions: numbers `m` and `m + width/2` of a head are turned by the position times frequency `m`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rope {
    /// One a pair of numbers, in radians a token.
    pub(crate) frequencies: Vec<f32>,
}

/// What a configuration says of rotary positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Said {
    pub(super) theta: f64,
    pub(super) stretch: Stretch,
}

/// How frequencies are changed for longer texts than a model was first trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stretch {
    None,
    /// All divided by the factor.
    Linear(f64),
    /// GTE's: θ times the factor, and all divided by its power of 2/width.
    Ntk(f64),
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original: f64,
    },
}

impl Rope {
    /// Frequencies `θ^(−2m/width)`.
    pub(super) fn of(said: Said, width: usize) -> Self {
        let base = |theta: f64| (0..width / 2).map(move |m| theta.powf(-2.0 * m as f64 / width as f64));
        let all: Vec<f64> = match said.stretch {
            Stretch::None => base(said.theta).collect(),
            Stretch::Linear(factor) => base(said.theta).map(|f| f / factor).collect(),
            Stretch::Ntk(factor) => base(said.theta * factor).map(|f| f / factor.powf(2.0 / width as f64)).collect(),
            Stretch::Llama3 { factor, low, high, original } => {
                let changed = |f: f64| {
                    let length = 2.0 * std::f64::consts::PI / f;
                    if length < original / high {
                        f
                    } else if length > original / low {
                        f / factor
                    } else {
                        let share = (original / length - low) / (high - low);
                        (1.0 - share) * f / factor + share * f
                    }
                };
                base(said.theta).map(changed).collect()
            }
        };
        #[expect(clippy::cast_possible_truncation, reason = "PyTorch has them in f32")]
        let frequencies = all.into_iter().map(|f| f as f32).collect();
        Self { frequencies }
    }

    /// Cosines, then sines of all positions below `positions`, each (positions × width/2). The angle is a product in f32, as
    /// PyTorch has it.
    pub(crate) fn table(&self, positions: usize) -> Vec<f32> {
        let angles = || (0..positions).flat_map(|p| self.frequencies.iter().map(move |f| p as f32 * f));
        angles().map(f32::cos).chain(angles().map(f32::sin)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_fall_from_one_by_the_formula() {
        let rope = Rope::of(Said { theta: 10_000.0, stretch: Stretch::None }, 8);
        assert_eq!(rope.frequencies, [1.0, 0.1, 0.01, 0.001]);
        let linear = Rope::of(Said { theta: 10_000.0, stretch: Stretch::Linear(2.0) }, 8);
        assert_eq!(linear.frequencies, [0.5, 0.05, 0.005, 0.0005]);
    }

    #[test]
    fn ntk_is_linear_with_another_base() {
        let (theta, factor, width) = (20_000.0, 8.0, 64);
        let ntk = Rope::of(Said { theta, stretch: Stretch::Ntk(factor) }, width);
        let power = f64::powf(factor, 2.0 / width as f64);
        let linear = Rope::of(Said { theta: theta * factor, stretch: Stretch::Linear(power) }, width);
        assert_eq!(ntk, linear);
    }

    #[test]
    fn llama3_leaves_fast_turns_and_slows_slow_ones() {
        let stretch = Stretch::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 64.0 };
        let (plain, rope) = (
            Rope::of(Said { theta: 500_000.0, stretch: Stretch::None }, 16),
            Rope::of(Said { theta: 500_000.0, stretch }, 16),
        );
        assert_eq!(rope.frequencies[0], plain.frequencies[0]);
        assert_eq!(rope.frequencies[7], plain.frequencies[7] / 8.0);
    }

    #[test]
    fn a_table_holds_cosines_before_sines() {
        let rope = Rope { frequencies: vec![1.0, 0.5] };
        assert_eq!(rope.table(2), [1.0, 1.0, 1f32.cos(), 0.5f32.cos(), 0.0, 0.0, 1f32.sin(), 0.5f32.sin()]);
    }
}
