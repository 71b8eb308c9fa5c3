//! Token ids back to text.

use super::Tokenizer;
use crate::error::InputError;

impl Tokenizer {
    /// The text of token ids, as the file's own decoder joins them. Without `keep_special` the file's special tokens
    /// are left out. What tokenizing dropped (case, runs of spaces) does not return.
    ///
    /// # Errors
    /// [`InputError::BadId`] for an id that the file's vocabulary has no token for; [`InputError::Tokenizer`] where the
    /// decoder fails.
    pub fn decode(&self, ids: &[u32], keep_special: bool) -> Result<String, InputError> {
        // The crate passes over ids that it does not know.
        if let Some((at, &id)) = ids.iter().enumerate().find(|&(_, &id)| self.inner.id_to_token(id).is_none()) {
            return Err(InputError::BadId { id, at, vocab: self.vocab_size() });
        }
        self.inner.decode(ids, !keep_special).map_err(|error| InputError::Tokenizer(error.to_string()))
    }
}
