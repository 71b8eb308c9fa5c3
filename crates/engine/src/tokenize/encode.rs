//! Sequences out of a text, two texts or ready ids: pieces are cut to fit and put into the template.

use super::{
    EncodeOptions, Tokenizer, Truncation, TruncationSide, guard,
    piece::{Piece, PieceForm, Stop, contained},
    reading, template,
    truncate::{self, Kept},
};
use crate::{error::InputError, item::Sequence};

impl Tokenizer {
    /// A single text.
    ///
    /// # Errors
    /// [`InputError::TooLong`] with [`Truncation::Error`], [`InputError::BadMaxLength`], [`InputError::Tokenizer`].
    pub fn encode(&self, text: &str, options: &EncodeOptions) -> Result<Sequence, InputError> {
        self.without_chat("a text alone")?;
        let (reader, rule) = self.reading(options)?;
        if let Some(rules) = reader.static_rules {
            return reader.static_ids(text, options, rules);
        }
        let limit = reader.limit_of(options, rule, reader.specials(false))?;
        let stop = reader.stop(text, options.truncation == Truncation::Error, limit, options);
        let piece = reader.piece(text, stop, reader.form(0), false, options)?;
        let sequence = reader.join(&piece, None, limit, options)?;
        Ok(reading::finished(sequence, rule, options.role))
    }

    /// Two texts in one sequence.
    ///
    /// An empty second text is valid even where the first fills the whole length.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`], and [`InputError::QueryTooLong`] where the first text must not be cut and alone leaves
    /// no room for the second.
    pub fn encode_pair(&self, a: &str, b: &str, options: &EncodeOptions) -> Result<Sequence, InputError> {
        self.encode_pair_after("", a, b, options)
    }

    /// Two texts in one sequence with a prompt: it goes before the first, or is the instruction of a chat template.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_pair`], and [`InputError::BadOption`] where a chat template has no place for an instruction.
    pub fn encode_pair_after(
        &self,
        prompt: &str,
        a: &str,
        b: &str,
        options: &EncodeOptions,
    ) -> Result<Sequence, InputError> {
        let query = self.first_text(prompt, a, options)?;
        self.encode_with(&query, b)
    }

    /// Ready ids, used as they are: special tokens, markers and what fills a query up in place. They are never cut,
    /// whatever `options.truncation` says. Empty `type_ids` means all zero. The route and the limit are those of the role.
    ///
    /// # Errors
    /// [`InputError::BadIds`] for no ids, another number of type ids or a type id the model has no segment for;
    /// [`InputError::BadId`] for an id outside the model's table; [`InputError::TooLong`]; [`InputError::BadMaxLength`].
    pub fn from_ids(&self, ids: Vec<u32>, type_ids: Vec<u32>, options: &EncodeOptions) -> Result<Sequence, InputError> {
        let (reader, rule) = self.reading(options)?;
        let limit = reader.own_limit(options, rule, 0)?;
        if ids.is_empty() {
            return Err(InputError::BadIds("there are no token ids".to_owned()));
        }
        if !type_ids.is_empty() && type_ids.len() != ids.len() {
            return Err(InputError::BadIds(format!("{} token ids, but {} type ids", ids.len(), type_ids.len())));
        }
        if ids.len() > limit {
            return Err(InputError::TooLong { tokens: ids.len(), limit });
        }
        reader.check_ids(&ids)?;
        if let Some((at, id)) = type_ids.iter().enumerate().find(|&(_, &id)| id as usize >= self.type_vocab) {
            return Err(InputError::BadIds(format!(
                "type id {id} at place {at} is outside the {} segments of the model",
                self.type_vocab
            )));
        }
        let filler = rule.and_then(|rule| rule.filler);
        let expansion = filler.map_or(0, |f| ids.iter().rev().take_while(|&&id| id == f.id).count());
        Ok(Sequence { role: options.role, expansion, ..sequence(ids, type_ids, false) })
    }

    /// Checks that the model has a row for each id.
    pub(super) fn check_ids(&self, ids: &[u32]) -> Result<(), InputError> {
        match ids.iter().enumerate().find(|&(_, &id)| id as usize >= self.model_vocab) {
            Some((at, &id)) => Err(InputError::BadId { id, at, vocab: self.model_vocab }),
            None => Ok(()),
        }
    }

    /// Longest sequence for a call, which must hold `specials` and one token more.
    pub(super) fn limit(&self, options: &EncodeOptions, specials: usize) -> Result<usize, InputError> {
        let limit = options.max_length.unwrap_or(self.max_length);
        let least = specials + 1;
        if limit < least || limit > self.max_length {
            return Err(InputError::BadMaxLength { asked: limit, least, most: self.max_length });
        }
        Ok(limit)
    }

    /// Special tokens the template adds; to pairs in a chat template all that it writes.
    pub(super) fn specials(&self, pair: bool) -> usize {
        match (&self.chat, &self.template) {
            (Some(_), _) if pair => self.frame_tokens(),
            (_, Some(template)) => template.specials(pair),
            (_, None) => template::added(&self.inner, pair),
        }
    }

    /// Where tokenizing may stop. A text that must fit is counted whole, so that the error can say how long it is;
    /// one beyond [`guard::COUNTED_BYTES`] only until it is known not to fit.
    pub(super) fn stop(&self, text: &str, must_fit: bool, limit: usize, options: &EncodeOptions) -> Stop {
        if must_fit && text.len() <= guard::COUNTED_BYTES {
            return Stop::NOWHERE;
        }
        Stop::at(limit, self.side_of(options))
    }

    pub(super) fn side_of(&self, options: &EncodeOptions) -> TruncationSide {
        options.side.unwrap_or(self.side)
    }

    /// The tokenizer that reads texts as plain text, special tokens too.
    fn plain(&self) -> &tokenizers::Tokenizer {
        self.plain.get_or_init(|| {
            let mut plain = (*self.inner).clone();
            plain.set_encode_special_tokens(true);
            plain
        })
    }

    /// What a piece must carry: encodings only where the post-processor will ask for them.
    pub(super) fn form(&self, segment: u32) -> PieceForm {
        if self.template.is_some() { PieceForm::Ids } else { PieceForm::Encoding { segment } }
    }

    /// Tokens of `text` without specials, those up to `stop` at least; with `words`, whole words up to the one that
    /// reaches it.
    pub(super) fn piece(
        &self,
        text: &str,
        stop: Stop,
        form: PieceForm,
        words: bool,
        options: &EncodeOptions,
    ) -> Result<Piece, InputError> {
        #[cfg(feature = "timed")]
        if self.counting {
            let (ids, more) = crate::timed::first_ids(text, stop.first());
            return Ok(Piece { ids, more, encoding: None });
        }
        if options.plain {
            return contained(|| Piece::of_text(self.plain(), text, stop, form));
        }
        if let (Ok(fast), PieceForm::Ids) = (&self.fast, form)
            && let Some(piece) = fast.piece(text, stop, words)
        {
            return Ok(piece);
        }
        contained(|| Piece::of_text(&self.inner, text, stop, form))
    }

    /// Cuts the pieces to `limit` and puts the specials in place.
    pub(super) fn join(
        &self,
        a: &Piece,
        b: Option<&Piece>,
        limit: usize,
        options: &EncodeOptions,
    ) -> Result<Sequence, InputError> {
        let kept = truncate::fit(a, b, limit, self.specials(b.is_some()), options.truncation)?;
        let kept = Kept { left: self.side_of(options) == TruncationSide::Left, ..kept };
        let Some(template) = &self.template else {
            let encoding = contained(|| template::processed(&self.inner, a, b, &kept, true))?;
            if encoding.len() > limit {
                return Err(InputError::TooLong { tokens: encoding.len(), limit });
            }
            let (ids, type_ids) = (encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec());
            return Ok(self.sequence(ids, type_ids, kept.truncated));
        };
        let (ids, type_ids) = template.assemble(kept.of(&a.ids, kept.first), b.map(|b| kept.of(&b.ids, kept.second)));
        Ok(self.sequence(ids, type_ids, kept.truncated))
    }

    /// What the tokenizer made, in the segments that the model is told.
    pub(super) fn sequence(&self, ids: Vec<u32>, type_ids: Vec<u32>, truncated: bool) -> Sequence {
        sequence(ids, if self.one_segment { Vec::new() } else { type_ids }, truncated)
    }
}

/// A [`Sequence`] in its short form: type ids that are all zero are left out.
fn sequence(ids: Vec<u32>, mut type_ids: Vec<u32>, truncated: bool) -> Sequence {
    if type_ids.iter().all(|&id| id == 0) {
        type_ids = Vec::new();
    }
    Sequence { ids, type_ids, truncated, ..Sequence::default() }
}
