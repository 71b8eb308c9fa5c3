//! Rotary positions out of a configuration of either generation.

use serde_json::Value;

use super::{
    FamilySource, Rope,
    rope::{Said, Stretch},
};
use crate::{error::LoadError, folder::keys::FileKeys};

/// Reads them for heads of `width` numbers. `layers` is the kind of layer they are for, where a configuration tells kinds
/// apart; `key` is the older name of θ and `default` what it is where nothing is said.
pub(super) fn rope(
    source: &mut FamilySource<'_>,
    layers: Option<&str>,
    key: &str,
    default: f64,
    width: usize,
) -> Result<Rope, LoadError> {
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
    Ok(Rope::of(said, width))
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
