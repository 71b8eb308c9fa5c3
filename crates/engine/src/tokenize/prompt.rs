//! A text after a prompt, and how many of its tokens are the prompt's.

use super::{
    EncodeOptions, Tokenizer, Truncation,
    piece::{PieceForm, Stop},
    reading,
};
use crate::{error::InputError, item::Sequence};

impl Tokenizer {
    /// A single text after a prompt. The sequence says how many of its tokens are the prompt's, so that a folder can
    /// leave them out of its pooling.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_after(&self, prompt: &str, text: &str, options: &EncodeOptions) -> Result<Sequence, InputError> {
        let mut sequence = if options.plain {
            self.encode_split(prompt, text, options)?
        } else {
            self.encode(&format!("{prompt}{text}"), options)?
        };
        sequence.prompt_tokens = self.prompt_tokens(prompt, options)?;
        Ok(sequence)
    }

    /// A plain text after a prompt whose special tokens stay special: the text joins what stands behind the last of them.
    fn encode_split(&self, prompt: &str, text: &str, options: &EncodeOptions) -> Result<Sequence, InputError> {
        let (reader, rule) = self.reading(options)?;
        let head = reader.special_end(prompt)?;
        if head == 0 || reader.static_rules.is_some() {
            return self.encode(&format!("{prompt}{text}"), options);
        }
        let limit = reader.limit_of(options, rule, reader.specials(false))?;
        let form = reader.form(0);
        let frame = EncodeOptions { plain: false, ..*options };
        let first = reader.piece(&prompt[..head], Stop::NOWHERE, form, false, &frame)?;
        let rest = format!("{}{text}", &prompt[head..]);
        let stop = reader.stop(&rest, options.truncation == Truncation::Error, limit, options);
        let piece = first.before(reader.piece(&rest, stop, form, false, options)?);
        let sequence = reader.join(&piece, None, limit, options)?;
        Ok(reading::finished(sequence, rule, options.role))
    }

    /// Where the last special token that `text` spells out ends; 0 where there is none.
    fn special_end(&self, text: &str) -> Result<usize, InputError> {
        let piece =
            self.piece(text, Stop::NOWHERE, PieceForm::Encoding { segment: 0 }, false, &EncodeOptions::default())?;
        let Some(encoding) = &piece.encoding else { return Ok(0) };
        let places = encoding.get_ids().iter().zip(encoding.get_offsets());
        let ends = places.filter(|&(&id, _)| self.is_special(id)).map(|(_, &(_, end))| text.floor_char_boundary(end));
        Ok(ends.max().unwrap_or(0))
    }

    /// Tokens of a prompt on its own, the special tokens before it among them: the count of sentence-transformers, which
    /// does not look at where the text begins.
    pub(super) fn prompt_tokens(&self, prompt: &str, options: &EncodeOptions) -> Result<usize, InputError> {
        if prompt.is_empty() {
            return Ok(0);
        }
        // A prompt is the folder's or the operator's: its special tokens are special whatever the text's are.
        let alone = EncodeOptions { truncation: Truncation::LongestFirst, max_length: None, plain: false, ..*options };
        if let Some((counted, how, tokens)) = &*self.counted.lock()
            && counted == prompt
            && *how == alone
        {
            return Ok(*tokens);
        }
        let sequence = self.encode(prompt, &alone)?;
        let own = &sequence.ids[..sequence.len() - sequence.expansion];
        let last_is_special = own.last().is_some_and(|&id| self.is_special(id));
        let tokens = own.len() - usize::from(last_is_special);
        *self.counted.lock() = Some((prompt.to_owned(), alone, tokens));
        Ok(tokens)
    }

    /// Whether an id is a special token's.
    fn is_special(&self, id: u32) -> bool {
        let added = self.inner.get_added_vocabulary();
        added.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special)
    }
}
