//! How a text is read by its role: late-interaction models have a marker, a length and an expansion of their own for queries
//! and for documents, models with routes another tokenizer, and static embeddings rules without special tokens.

use std::sync::Arc;

use super::{EncodeOptions, Tokenizer, Truncation, TruncationSide, piece::Stop};
use crate::{error::InputError, item::Sequence, task::Role};

/// How texts of no role, queries and documents are read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readings([Reading; 3]);

/// How texts of one role are read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// Another tokenizer reads them.
    pub(crate) other: Option<Arc<Tokenizer>>,
    /// Token right after the first.
    pub(crate) marker: Option<u32>,
    /// Longest sequence.
    pub(crate) max_length: Option<usize>,
    /// What they are filled up with.
    pub(crate) filler: Option<Filler>,
    /// They always have that length: a caller's own does not count.
    pub(crate) fixed: bool,
    /// The model has no route for them.
    pub(crate) refused: bool,
}

/// What a query is filled up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filler {
    /// Its token.
    pub(crate) id: u32,
    /// Least length of a sequence, specials included.
    pub(crate) length: usize,
}

/// Rules of model2vec for a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StaticRules {
    /// Only so many characters of a text are read.
    pub(crate) characters: Option<usize>,
    /// Dropped after the cut.
    pub(crate) unknown: Option<u32>,
}

impl StaticRules {
    /// Where the part of a text that is read ends, in bytes.
    pub(super) fn end_of(self, text: &str) -> usize {
        self.characters.and_then(|n| text.char_indices().nth(n)).map_or(text.len(), |(at, _)| at)
    }
}

impl Tokenizer {
    /// Reads texts of each role in a way of its own: of none, of queries, of documents.
    pub(crate) fn with_readings(mut self, readings: [Reading; 3]) -> Self {
        self.readings = Some(Arc::new(Readings(readings)));
        self
    }

    /// Reads texts as model2vec does.
    pub(crate) fn with_static_rules(mut self, rules: StaticRules) -> Self {
        self.static_rules = Some(rules);
        self
    }

    /// Longest sequence of a text of `role`, special tokens included, where a caller names no length.
    pub(crate) fn max_length_of(&self, role: Option<Role>) -> usize {
        let options = EncodeOptions { role, ..EncodeOptions::default() };
        let Ok((tokenizer, reading)) = self.reading(&options) else { return self.max_length };
        reading.and_then(|r| r.max_length).map_or(tokenizer.max_length, |n| n.min(tokenizer.max_length))
    }

    /// The token that queries are filled up with, where they are.
    pub(crate) fn filler(&self) -> Option<String> {
        let options = EncodeOptions { role: Some(Role::Query), ..EncodeOptions::default() };
        let filler = self.reading(&options).ok()?.1?.filler?;
        self.inner.id_to_token(filler.id)
    }

    /// Who reads a text of a role, and how.
    pub(super) fn reading(&self, options: &EncodeOptions) -> Result<(&Tokenizer, Option<&Reading>), InputError> {
        let Some(readings) = &self.readings else { return Ok((self, None)) };
        let reading = &readings.0[options.role.map_or(0, |role| role as usize + 1)];
        if reading.refused {
            let role = options.role.map_or("no role", Role::name);
            return Err(InputError::BadRole(format!(
                "this model has no way for a text of {role}; say query or document"
            )));
        }
        Ok((reading.other.as_deref().unwrap_or(self), Some(reading)))
    }

    /// Longest sequence before a marker is put in.
    pub(super) fn limit_of(
        &self,
        options: &EncodeOptions,
        reading: Option<&Reading>,
        specials: usize,
    ) -> Result<usize, InputError> {
        let marker = usize::from(reading.is_some_and(|r| r.marker.is_some()));
        Ok(self.own_limit(options, reading, specials + marker)? - marker)
    }

    /// Longest sequence, which must hold `specials` and one token more.
    pub(super) fn own_limit(
        &self,
        options: &EncodeOptions,
        reading: Option<&Reading>,
        specials: usize,
    ) -> Result<usize, InputError> {
        let own = reading.and_then(|r| r.max_length).map_or(self.max_length, |n| n.min(self.max_length));
        let limit = if reading.is_some_and(|r| r.fixed) { own } else { options.max_length.unwrap_or(own) };
        let least = specials + 1;
        if limit < least || limit > self.max_length {
            return Err(InputError::BadMaxLength { asked: limit, least, most: self.max_length });
        }
        Ok(limit)
    }

    /// Ids of a text by model2vec's rules: its first characters, cut, without unknown tokens.
    pub(super) fn static_ids(
        &self,
        text: &str,
        options: &EncodeOptions,
        rules: StaticRules,
    ) -> Result<Sequence, InputError> {
        let limit = self.limit(options, 0)?;
        let end = rules.end_of(text);
        let piece = self.piece(&text[..end], Stop::at(limit, TruncationSide::Right), self.form(0), false, options)?;
        self.static_sequence(piece.ids, piece.more || end < text.len(), limit, options, rules)
    }

    /// The sequence of ids by model2vec's rules.
    pub(super) fn static_sequence(
        &self,
        mut ids: Vec<u32>,
        more: bool,
        limit: usize,
        options: &EncodeOptions,
        rules: StaticRules,
    ) -> Result<Sequence, InputError> {
        let truncated = more || ids.len() > limit;
        if truncated && options.truncation == Truncation::Error {
            return Err(InputError::TooLong { tokens: ids.len(), limit });
        }
        ids.truncate(limit);
        ids.retain(|&id| Some(id) != rules.unknown);
        Ok(Sequence { ids, truncated, role: options.role, ..Sequence::default() })
    }
}

/// Puts the marker in and fills up.
pub(super) fn finished(mut sequence: Sequence, reading: Option<&Reading>, role: Option<Role>) -> Sequence {
    sequence.role = role;
    let Some(reading) = reading else { return sequence };
    if let Some(marker) = reading.marker {
        let at = sequence.ids.len().min(1);
        sequence.ids.insert(at, marker);
        if !sequence.type_ids.is_empty() {
            sequence.type_ids.insert(at, 0);
        }
    }
    if let Some(filler) = reading.filler {
        sequence.expansion = filler.length.saturating_sub(sequence.ids.len());
        sequence.ids.resize(sequence.ids.len() + sequence.expansion, filler.id);
        if !sequence.type_ids.is_empty() {
            sequence.type_ids.resize(sequence.ids.len(), 0);
        }
    }
    sequence
}
