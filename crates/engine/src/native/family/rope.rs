//! Rotary positions: their frequencies out of a configuration of either generation.

use serde_json::Value;

use super::FamilySource;
use crate::{error::LoadError, folder::keys::FileKeys};

/// Rotary positions: numbers `m` and `m + width/2` of a head are turned by the position times frequency `m`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rope {
    /// One a pair of numbers, in radians a token.
    pub(crate) frequencies: Vec<f32>,
}

/// What a configuration says of rotary positions.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Said {
    theta: f64,
    stretch: Stretch,
}

/// How frequencies are changed for longer texts than a model was first trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stretch {
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
    fn of(said: Said, width: usize) -> Self {
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

    /// Reads them for heads of `width` numbers. `layers` is the kind of layer they are for, where a configuration tells kinds
    /// apart; `key` is the older name of θ and `default` what it is where nothing is said.
    pub(super) fn read(
        source: &mut FamilySource<'_>,
        layers: Option<&str>,
        key: &str,
        default: f64,
        width: usize,
    ) -> Result<Self, LoadError> {
        let old = older(source, key, layers)?;
        let new = newer(source, layers)?;
        let said = match (old, new) {
            (Some(old), Some(new)) if old != new => {
                return Err(source.keys.refused(
                    "rope_parameters",
                    &Value::from(new.theta),
                    &format!("{key} beside it says something else"),
                ));
            }
            (_, Some(new)) => new,
            (Some(old), None) => old,
            (None, None) => Said { theta: default, stretch: Stretch::None },
        };
        if width == 0 || !width.is_multiple_of(2) {
            return Err(LoadError::invalid(
                source.keys.path(),
                format!("heads of {width} numbers have no pairs to be rotated"),
            ));
        }
        Ok(Self::of(said, width))
    }
}

/// `rope_theta` and `rope_scaling`.
fn older(source: &mut FamilySource<'_>, key: &str, layers: Option<&str>) -> Result<Option<Said>, LoadError> {
    let theta = source.peek::<f64>(key)?;
    let scaling = source.peek::<Value>("rope_scaling")?.filter(|scaling| !scaling.is_null());
    let Some(theta) = theta else { return Ok(None) };
    let mut stretch = Stretch::None;
    // Where kinds of layers differ the older files stretch none.
    if let Some(scaling) = scaling.filter(|_| layers.is_none()) {
        let mut keys = source.object("rope_scaling", scaling)?;
        stretch = read_stretch(&mut keys, "rope_scaling")?;
        keys.none_left()?;
    }
    Ok(Some(Said { theta, stretch }))
}

/// `rope_parameters` of transformers 5, one object or one by kind of layer.
fn newer(source: &mut FamilySource<'_>, layers: Option<&str>) -> Result<Option<Said>, LoadError> {
    let Some(all) = source.peek::<Value>("rope_parameters")?.filter(|all| !all.is_null()) else { return Ok(None) };
    let own = layers.and_then(|kind| all.get(kind)).cloned();
    let said = match own {
        Some(own) => own,
        None if all.get("rope_theta").is_some() || all.get("rope_type").is_some() => all,
        None => return Err(source.keys.refused("rope_parameters", &all, "it says nothing of these layers")),
    };
    let mut keys = source.object("rope_parameters", said)?;
    let theta = keys.need::<f64>("rope_parameters.rope_theta")?;
    keys.only("rope_parameters.partial_rotary_factor", &[Value::from(1.0), Value::from(1)])?;
    let stretch = read_stretch(&mut keys, "rope_parameters")?;
    keys.none_left()?;
    Ok(Some(Said { theta, stretch }))
}

fn read_stretch(keys: &mut FileKeys, of: &str) -> Result<Stretch, LoadError> {
    let key = |name: &str| format!("{of}.{name}");
    let old_kind = keys.take::<String>(&key("type"))?;
    let kind = keys.take::<String>(&key("rope_type"))?.or(old_kind);
    let factor = keys.take::<f64>(&key("factor"))?;
    let need = |factor: Option<f64>| {
        factor
            .filter(|f| f.is_finite() && *f > 0.0)
            .ok_or_else(|| LoadError::invalid(keys.path(), format!("{of}.factor is missing or not above 0")))
    };
    Ok(match kind.as_deref() {
        None | Some("default") => Stretch::None,
        Some("linear") => Stretch::Linear(need(factor)?),
        Some("ntk") => Stretch::Ntk(need(factor)?),
        Some("llama3") => Stretch::Llama3 {
            factor: need(factor)?,
            low: keys.need(&key("low_freq_factor"))?,
            high: keys.need(&key("high_freq_factor"))?,
            original: keys.need(&key("original_max_position_embeddings"))?,
        },
        Some(other) => {
            return Err(keys.refused(&key("rope_type"), &Value::from(other), "default, linear, ntk and llama3 are"));
        }
    })
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
