//! Options that TEI's requests have in common.

use sortie_proto::v1::{ModelInfo, TextOptions, Truncation};

use crate::{door::Door, failure::HttpFailure, models::takes_instruction, request::side};

/// Options of single texts.
pub(super) fn text_options(
    door: &Door,
    truncate: Option<bool>,
    direction: Option<&str>,
    prompt_name: Option<String>,
) -> Result<TextOptions, HttpFailure> {
    let cut = truncate.unwrap_or(door.options().cut_by_default);
    Ok(TextOptions {
        truncation: if cut { Truncation::DocumentOnly } else { Truncation::Error }.into(),
        truncation_side: side("truncation_direction", direction)?.into(),
        prompt_name: prompt_name.unwrap_or_default(),
        ..TextOptions::default()
    })
}

/// Options of pairs. TEI cuts the longer text first, so a long query is cut too; where a chat template is around the
/// pair, only the document can be.
pub(crate) fn pair_options(
    door: &Door,
    model: &ModelInfo,
    truncate: Option<bool>,
    direction: Option<&str>,
) -> Result<TextOptions, HttpFailure> {
    let mut options = text_options(door, truncate, direction, None)?;
    if options.truncation() == Truncation::DocumentOnly && !takes_instruction(model) {
        options.truncation = Truncation::LongestFirst.into();
    }
    Ok(options)
}
