//! Rotary positions out of a configuration of either generation.

use serde_json::Value;

use super::{
    FamilySource, Rope,
    rope::{Said, Stretch},
};
use crate::{error::LoadError, folder::keys::FileKeys};

/// Reads them for heads of `width` numbers. `layers` is the kind of layer they are for, where a configuration tells kinds
/// apart; `keys` are the older names of θ and `default` what it is where nothing is said.
pub(super) fn rope(
    source: &mut FamilySource<'_>,
    layers: Option<&str>,
    keys: &[&str],
    default: f64,
    width: usize,
) -> Result<Rope, LoadError> {
    let (old_theta, old_stretch) = (older_theta(source, keys)?, older_stretch(source, layers)?);
    let (new_theta, new_stretch) = newer(source, layers)?;
    let theta = one_of(source, old_theta, new_theta)?.unwrap_or(default);
    let stretch = one_of(source, old_stretch, new_stretch)?.unwrap_or(Stretch::None);
    let path = source.keys.path();
    if !(theta.is_finite() && theta > 0.0) {
        return Err(LoadError::invalid(path, format!("θ of rotary positions is {theta}, not above 0")));
    }
    if width == 0 || !width.is_multiple_of(2) {
        return Err(LoadError::invalid(path, format!("heads of {width} numbers have no pairs to be rotated")));
    }
    Ok(Rope::of(Said { theta, stretch }, width))
}

/// What is said once, or twice alike.
fn one_of<T: PartialEq + std::fmt::Debug>(
    source: &FamilySource<'_>,
    old: Option<T>,
    new: Option<T>,
) -> Result<Option<T>, LoadError> {
    match (old, new) {
        (Some(old), Some(new)) if old != new => Err(LoadError::unsupported(
            source.keys.path(),
            format!("rope_parameters says {new:?} where rope_theta or rope_scaling, which are older, say {old:?}"),
        )),
        (old, new) => Ok(new.or(old)),
    }
}

/// θ under any of its older names.
fn older_theta(source: &FamilySource<'_>, keys: &[&str]) -> Result<Option<f64>, LoadError> {
    let mut found: Option<(&str, f64)> = None;
    for key in keys {
        let Some(theta) = source.peek::<f64>(key)? else { continue };
        match found {
            Some((other, there)) if there != theta => {
                let why = format!("{key} is {theta}, but {other} is {there}");
                return Err(LoadError::invalid(source.keys.path(), why));
            }
            _ => found = Some((key, theta)),
        }
    }
    Ok(found.map(|(_, theta)| theta))
}

/// `rope_scaling`. Families whose layers differ give it to one kind or to both: it is not served there.
fn older_stretch(source: &FamilySource<'_>, layers: Option<&str>) -> Result<Option<Stretch>, LoadError> {
    let Some(scaling) = source.peek::<Value>("rope_scaling")? else { return Ok(None) };
    let mut keys = source.object("rope_scaling", scaling.clone())?;
    let theta = keys.take::<f64>("rope_scaling.rope_theta")?;
    let stretch = read_stretch(&mut keys, "rope_scaling")?;
    keys.none_left()?;
    if theta.is_some() || (layers.is_some() && stretch != Stretch::None) {
        return Err(source.keys.refused("rope_scaling", &scaling, "rope_parameters says such things by kind of layer"));
    }
    Ok(Some(stretch))
}

/// `rope_parameters` of transformers 5, one object or one by kind of layer.
fn newer(source: &FamilySource<'_>, layers: Option<&str>) -> Result<(Option<f64>, Option<Stretch>), LoadError> {
    let Some(all) = source.peek::<Value>("rope_parameters")? else { return Ok((None, None)) };
    let said = match layers {
        None => Some(all.clone()),
        Some(kind) => all.get(kind).cloned(),
    };
    let Some(said) = said.filter(Value::is_object) else {
        return Err(source.keys.refused("rope_parameters", &all, "it says nothing of one kind of layers"));
    };
    let mut keys = source.object("rope_parameters", said)?;
    let theta = keys.take::<f64>("rope_parameters.rope_theta")?;
    keys.only("rope_parameters.partial_rotary_factor", &[Value::from(1.0), Value::from(1)])?;
    let stretch = read_stretch(&mut keys, "rope_parameters")?;
    keys.none_left()?;
    Ok((theta, Some(stretch)))
}

/// Whether and how frequencies are changed.
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
        Some("llama3") => {
            let factor = need(factor)?;
            let mut number = |name: &str| -> Result<f64, LoadError> {
                let said = keys.need::<f64>(&key(name))?;
                let above = said.is_finite() && said > 0.0;
                above
                    .then_some(said)
                    .ok_or_else(|| LoadError::invalid(keys.path(), format!("{of}.{name} is {said}, not above 0")))
            };
            let (low, high) = (number("low_freq_factor")?, number("high_freq_factor")?);
            let original = number("original_max_position_embeddings")?;
            if high <= low {
                let why = format!("{of}.high_freq_factor {high} is not above low_freq_factor {low}");
                return Err(LoadError::invalid(keys.path(), why));
            }
            Stretch::Llama3 { factor, low, high, original }
        }
        Some(other) => {
            return Err(keys.refused(&key("rope_type"), &Value::from(other), "default, linear, ntk and llama3 are"));
        }
    })
}
