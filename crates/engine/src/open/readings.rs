//! How texts are read by their roles, where a model reads queries and documents apart.

use std::sync::Arc;

use super::tables::table_tokenizer;
use crate::{
    error::LoadError,
    folder::{Folder, LateInteraction, RouteInput, Routes, keys::Notes},
    lookup::Lookup,
    task::Role,
    tokenize::{Filler, Reading, Tokenizer},
};

/// The readings of roles, where a model reads them apart.
pub(super) fn with_readings(
    tokenizer: Tokenizer,
    folder: &Folder,
    routes: &Routes,
    lookup: Option<&Lookup>,
) -> Result<Tokenizer, LoadError> {
    let single = routes.all().len() == 1;
    if single && folder.late.is_none() {
        return Ok(tokenizer);
    }
    let mut readings: [Reading; 3] = Default::default();
    for (at, role) in [None, Some(Role::Query), Some(Role::Document)].into_iter().enumerate() {
        let reading = &mut readings[at];
        let Some(route) = routes.of(role) else {
            reading.refused = true;
            continue;
        };
        let place = routes.place(role).unwrap_or(0);
        if let (RouteInput::Static(home) | RouteInput::SparseStatic(home), Some(rows)) =
            (&route.input, lookup.and_then(|l| l.rows(place)))
        {
            let mut notes = Notes::new(home);
            let rules = route.input.tokenizer_rules(&mut notes)?;
            reading.other = Some(Arc::new(table_tokenizer(&route.input, home, &rules, rows, None)?));
        }
        if let Some(late) = &folder.late {
            late_reading(reading, &tokenizer, folder, late, role)?;
        }
    }
    Ok(tokenizer.with_readings(readings))
}

/// Marker, length and filler of a late-interaction model's texts. A text of no role is read as a document.
fn late_reading(
    reading: &mut Reading,
    tokenizer: &Tokenizer,
    folder: &Folder,
    late: &LateInteraction,
    role: Option<Role>,
) -> Result<(), LoadError> {
    let path = folder.tokenizer_home.join("tokenizer.json");
    let is_query = role == Some(Role::Query);
    if let Some(markers) = &late.markers {
        let marker = &markers[usize::from(!is_query)];
        if !marker.is_empty() {
            let id = tokenizer.token_id(marker).ok_or_else(|| {
                LoadError::invalid(&path, format!("it has no token {marker:?}, which marks the model's texts"))
            })?;
            reading.marker = Some(id);
        }
    }
    // Without a role the library cuts at the tokenizer's own length; PyLate has no such texts.
    reading.max_length = match (role, &late.markers) {
        (None, None) => folder.max_length,
        (None, Some(_)) => late.lengths[1],
        (Some(role), _) => late.lengths[role as usize].or(folder.max_length),
    };
    if let Some(expansion) = late.expansion.as_ref().filter(|_| is_query) {
        let named = expansion.token.as_deref();
        let tokens = [named, folder.tokenizer.token("mask_token"), folder.tokenizer.token("eos_token")];
        let tokens = if named.is_some() { &tokens[..1] } else { &tokens[1..] };
        let usual = ["[MASK]", "<mask>"];
        let id = tokens
            .iter()
            .flatten()
            .find_map(|token| tokenizer.token_id(token))
            .or_else(|| usual.into_iter().filter(|_| named.is_none()).find_map(|token| tokenizer.token_id(token)))
            .ok_or_else(|| LoadError::invalid(&path, "it has no token that queries could be filled up with"))?;
        reading.filler = Some(Filler { id, length: expansion.length });
        reading.fixed = expansion.fixed;
        reading.max_length =
            if expansion.fixed { Some(expansion.length) } else { reading.max_length.map(|n| n.max(expansion.length)) };
    }
    Ok(())
}
