//! A query tokenized once and joined with many texts.

use std::sync::Arc;

use super::{EncodeOptions, TokenizedText, Tokenizer, Truncation, chat::ChatQuery, piece::Piece};
use crate::{error::InputError, item::Sequence};

/// Document tokens that a query made for many documents must leave room for: with none, every document but an empty
/// one would be refused one by one.
const LEAST_DOCUMENT: usize = 1;

/// The first text of pairs to come, tokenized, with the options they share.
/// Belongs to the [`Tokenizer`] that made it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Query {
    piece: Arc<Piece>,
    pub(super) limit: usize,
    pub(super) options: EncodeOptions,
    /// Set where pairs are put into a chat template.
    chat: Option<Arc<ChatQuery>>,
}

impl Query {
    /// Its tokens, specials not counted; in a chat template all that stands before the document.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.piece.ids.len()
    }

    /// One whose pairs are put into a chat template.
    pub(super) fn of_chat(piece: Piece, limit: usize, options: &EncodeOptions, chat: ChatQuery) -> Self {
        Self { piece: Arc::new(piece), limit, options: *options, chat: Some(Arc::new(chat)) }
    }
}

impl Tokenizer {
    /// Tokenizes a query for [`Tokenizer::encode_with`] and [`Tokenizer::ids_with`].
    ///
    /// With [`Truncation::LongestFirst`] any query will do, since it can be cut. Otherwise the query and the specials
    /// must leave room for at least one token of a document.
    ///
    /// # Errors
    /// [`InputError::QueryTooLong`], [`InputError::BadMaxLength`], [`InputError::Tokenizer`].
    pub fn query(&self, text: &str, options: &EncodeOptions) -> Result<Query, InputError> {
        self.query_after("", text, options)
    }

    /// A query with a prompt: it goes before the query, or is the instruction of a chat template.
    ///
    /// # Errors
    /// As [`Tokenizer::query`], and [`InputError::BadOption`] where a chat template has no place for an instruction.
    pub fn query_after(&self, prompt: &str, text: &str, options: &EncodeOptions) -> Result<Query, InputError> {
        self.with_room(self.first_text(prompt, text, options)?)
    }

    /// A query from its ids, without specials: the template adds them.
    ///
    /// # Errors
    /// As [`Tokenizer::query`], and [`InputError::BadId`].
    pub fn query_from_ids(&self, ids: &[u32], options: &EncodeOptions) -> Result<Query, InputError> {
        self.without_chat("a list of ids")?;
        self.check_ids(ids)?;
        let limit = self.limit(options, self.specials(true))?;
        let piece = Arc::new(Piece::of_ids(&self.inner, ids, self.form(0)));
        self.with_room(Query { piece, limit, options: *options, chat: None })
    }

    /// The pair of `query` and `document`: just what [`Tokenizer::encode_pair`] makes of the two texts.
    ///
    /// # Errors
    /// [`InputError::TooLong`] with [`Truncation::Error`], [`InputError::Tokenizer`].
    pub fn encode_with(&self, query: &Query, document: &str) -> Result<Sequence, InputError> {
        let options = &query.options;
        if let Some(chat) = &query.chat {
            return self.chat_pair(chat, document, query.limit, options);
        }
        let stop = self.stop(document, options.truncation == Truncation::Error, query.limit, options);
        let words = options.truncation == Truncation::LongestFirst;
        let second = self.piece(document, stop, self.form(1), words, options)?;
        self.join(&query.piece, Some(&second), query.limit, options)
    }

    /// The pair of `query` and a document given as ids without specials. It is cut as a text would be.
    ///
    /// # Errors
    /// [`InputError::BadId`], and as [`Tokenizer::encode_with`].
    pub fn ids_with(&self, query: &Query, document_ids: &[u32]) -> Result<Sequence, InputError> {
        self.without_chat("a list of ids")?;
        self.check_ids(document_ids)?;
        let second = Piece::of_ids(&self.inner, document_ids, self.form(1));
        self.join(&query.piece, Some(&second), query.limit, &query.options)
    }

    /// A single sequence from ids without specials: just what [`Tokenizer::encode`] makes of their text. It is cut as a
    /// text would be.
    ///
    /// # Errors
    /// [`InputError::BadId`], [`InputError::BadMaxLength`], and [`InputError::TooLong`] with [`Truncation::Error`].
    pub fn encode_ids(&self, ids: &[u32], options: &EncodeOptions) -> Result<Sequence, InputError> {
        self.without_chat("a list of ids")?;
        let (reader, rule) = self.reading(options)?;
        reader.check_ids(ids)?;
        if let Some(rules) = reader.static_rules {
            let limit = reader.limit(options, 0)?;
            return reader.static_sequence(ids.to_vec(), false, limit, options, rules);
        }
        let limit = reader.limit_of(options, rule, reader.specials(false))?;
        let piece = Piece::of_ids(&reader.inner, ids, reader.form(0));
        let sequence = reader.join(&piece, None, limit, options)?;
        Ok(super::reading::finished(sequence, rule, options.role))
    }

    /// The first text of a pair, however long it is, with its prompt.
    pub(super) fn first_text(&self, prompt: &str, text: &str, options: &EncodeOptions) -> Result<Query, InputError> {
        if self.reads_chat() {
            return self.first_of_chat(prompt, text, options);
        }
        let prompted;
        let text = if prompt.is_empty() {
            text
        } else {
            prompted = format!("{prompt}{text}");
            &prompted
        };
        let limit = self.limit(options, self.specials(true))?;
        let stop = self.stop(text, options.truncation != Truncation::LongestFirst, limit, options);
        let words = options.truncation == Truncation::LongestFirst;
        let piece = Arc::new(self.piece(text, stop, self.form(0), words, options)?);
        Ok(Query { piece, limit, options: *options, chat: None })
    }

    /// The pair's text of a chat template, with details.
    pub(super) fn detail_of_chat(
        &self,
        query: &Query,
        document: &str,
        frame: bool,
    ) -> Option<Result<TokenizedText, InputError>> {
        let chat = query.chat.as_ref()?;
        Some(self.chat_detail(chat, document, query.limit, &query.options, frame))
    }

    /// Refuses a query that must not be cut and leaves no room for documents.
    fn with_room(&self, query: Query) -> Result<Query, InputError> {
        let beside = query.chat.as_ref().map_or_else(|| self.specials(true), |chat| chat.tail());
        let (tokens, limit) = (query.tokens() + beside, query.limit);
        if query.options.truncation != Truncation::LongestFirst && (query.piece.more || tokens + LEAST_DOCUMENT > limit)
        {
            return Err(InputError::QueryTooLong { tokens, limit });
        }
        Ok(query)
    }
}
