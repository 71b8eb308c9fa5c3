//! Pairs that a chat template is put around: causal language models that score by logits.
//!
//! The template is rendered once for its *frame*, what it writes around the three texts: the instruction (the system
//! message), the query and the document. A pair becomes tokens stretch by stretch, from one token that the frame spells
//! out to the next, each stretch as one text:
//!
//! ```text
//! <|im_start|> | system\n{instruction} | <|im_end|> | … {query} … {document} | <|im_end|> | … assistant\n
//! ```
//!
//! so that ids are those of the rendered text as a whole, and nothing is added to them. What always holds:
//!
//! * No text of a pair makes a special token, nor one that the frame spells out, so that none can close the frame. Where a
//!   model has such a token among its own words, the text is refused.
//! * What is cut of a pair that is too long is the end of its document; what stands behind that stays, as
//!   sentence-transformers puts it back.
//! * Every pair is rendered too, and refused where the template writes something else than its frame with these texts in it.

mod detail;
mod frame;
mod render;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc};

use tokenizers::AddedToken;

use self::{
    frame::{ChatFrame, Run},
    render::{ChatContents, Renderer},
};
use super::{
    EncodeOptions, Query, Tokenizer, Truncation, TruncationSide,
    piece::{Piece, PieceForm, Stop, contained},
    self_check::SAMPLES,
};
use crate::{
    error::{InputError, LoadError},
    folder::ChatTemplate,
    item::Sequence,
};

/// Stand for a document where the tokens behind it are counted: they begin and end unlike each other.
const FILLERS: [&str; 2] = ["0", "1 2 3 4"];

/// A text of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Instruction,
    Query,
    Document,
}

/// A chat template and its frames.
#[derive(Debug)]
pub(super) struct Chat {
    renderer: Renderer,
    /// Without a system message.
    bare: Framed,
    /// With one, or why there is none.
    instructed: Result<Framed, String>,
    /// Reads texts: special tokens, and those of the frame, are plain text to it.
    plain: tokenizers::Tokenizer,
    /// Ids that no text may become: special tokens, and those of the frame.
    guarded: HashSet<u32>,
}

/// A frame as it becomes tokens.
#[derive(Debug)]
struct Framed {
    frame: ChatFrame,
    runs: Vec<Run>,
    /// Which run the document goes into.
    at: usize,
    /// Tokens of the frame around texts that are empty.
    tokens: usize,
}

/// The first half of pairs to come.
#[derive(Debug)]
pub(super) struct ChatQuery {
    chat: Arc<Chat>,
    instruction: Option<String>,
    query: String,
    /// Tokens of the runs before the document's.
    before: Vec<u32>,
    /// Text of the document's run before it, and behind it.
    head: String,
    foot: String,
    /// Tokens of the runs behind the document's.
    behind: Vec<u32>,
    /// How many tokens at the end stay where the document is cut.
    tail: Vec<u32>,
    /// Tokens before the document.
    ahead: usize,
}

impl Framed {
    fn new(frame: ChatFrame, runs: Vec<Run>, plain: &tokenizers::Tokenizer) -> Result<Self, InputError> {
        let nothing = ChatContents { instruction: None, query: "", document: "" };
        let (mut done, mut tokens) = (Vec::with_capacity(runs.len()), 0);
        for run in runs {
            let ids = run.tokens(plain, nothing)?;
            tokens += ids.len();
            let varies = [Slot::Instruction, Slot::Query, Slot::Document].into_iter().any(|slot| run.has(slot));
            done.push(if varies { run } else { Run::Tokens(ids) });
        }
        let at = done.iter().position(|run| run.has(Slot::Document)).unwrap_or(done.len());
        Ok(Self { frame, runs: done, at, tokens })
    }
}

impl Chat {
    fn read(template: &ChatTemplate, tokenizer: &tokenizers::Tokenizer) -> Result<Self, LoadError> {
        let refuse = |why: String| LoadError::unsupported(&template.path, why);
        let failed = |e: InputError| LoadError::invalid(&template.path, e.to_string());
        let renderer = Renderer::new(template)?;
        let bare = ChatFrame::read(&renderer, &template.source, false).map_err(refuse)?;
        let instructed = ChatFrame::read(&renderer, &template.source, true);
        let (bare_runs, mut own) = bare.runs(tokenizer).map_err(refuse)?;
        let instructed = instructed.and_then(|frame| {
            let (runs, more) = frame.runs(tokenizer)?;
            own.extend(more);
            Ok((frame, runs))
        });
        let mut plain = tokenizer.clone();
        // What is not known is a token of texts, though files call it special.
        let unknown = super::load::unknown_token(tokenizer);
        let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
        let is_guarded = |id: u32, token: &AddedToken| Some(id) != unknown && (token.special || own.contains(token));
        let guarded = added.iter().filter(|&(&id, token)| is_guarded(id, token)).map(|(&id, _)| id).collect();
        let special = |token: AddedToken| AddedToken { special: true, ..token };
        contained(|| plain.add_special_tokens(own.into_iter().map(special)).map(|_| ())).map_err(failed)?;
        plain.set_encode_special_tokens(true);
        let bare = Framed::new(bare, bare_runs, &plain).map_err(failed)?;
        let instructed = match instructed {
            Ok((frame, runs)) => Ok(Framed::new(frame, runs, &plain).map_err(failed)?),
            Err(why) => Err(why),
        };
        Ok(Self { renderer, bare, instructed, plain, guarded })
    }

    /// The frame of a pair with or without an instruction.
    fn frame(&self, instruction: Option<&str>) -> Result<&Framed, InputError> {
        match instruction {
            None => Ok(&self.bare),
            Some(_) => self
                .instructed
                .as_ref()
                .map_err(|why| InputError::BadOption { option: "options.prompt", why: why.clone() }),
        }
    }

    /// Refuses ids of a text of which one closes or opens something. A model that has a special token among its own words
    /// finds it in a text that is read as plain, too.
    fn guard(&self, ids: &[u32]) -> Result<(), InputError> {
        match ids.iter().find(|id| self.guarded.contains(id)) {
            None => Ok(()),
            Some(&id) => Err(InputError::NoChat(format!(
                "a text spells out the special token {:?}, which this tokenizer cannot read as plain text",
                self.plain.id_to_token(id).unwrap_or_default()
            ))),
        }
    }

    /// Whether sample pairs come out as the tokenizer reads their rendered texts as a whole.
    fn agrees(&self, tokenizer: &Tokenizer) -> Result<bool, InputError> {
        let options = EncodeOptions::default();
        for (i, document) in SAMPLES.into_iter().enumerate() {
            let [query, instruction] = [1, 2].map(|step| SAMPLES[(i + step) % SAMPLES.len()]);
            for instruction in [None, Some(instruction).filter(|text| !text.is_empty() && self.instructed.is_ok())] {
                let contents = ChatContents { instruction, query, document };
                let text = self.frame(instruction)?.frame.text(contents);
                let whole = contained(|| tokenizer.inner.encode(text.as_str(), false))?;
                let made = tokenizer.chat_query(instruction, query, &options, usize::MAX)?;
                if tokenizer.chat_pair(&made, document, usize::MAX, &options)?.ids != whole.get_ids() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

impl Tokenizer {
    /// Puts pairs into a chat template.
    pub(crate) fn with_chat(mut self, template: &ChatTemplate) -> Result<Self, LoadError> {
        let chat = Arc::new(Chat::read(template, &self.inner)?);
        self.chat = Some(Arc::clone(&chat));
        if !chat.agrees(&self).map_err(|e| LoadError::invalid(&template.path, e.to_string()))? {
            return Err(LoadError::unsupported(
                &template.path,
                "the tokenizer reads a rendered chat otherwise as a whole than from one token of its frame to the next: that is \
                 not served",
            ));
        }
        let tokens = chat.instructed.as_ref().map_or(0, |framed| framed.tokens).max(chat.bare.tokens);
        if tokens >= self.max_length {
            let why = format!("the chat template has {tokens} tokens, but the longest sequence is {}", self.max_length);
            return Err(LoadError::invalid(&template.path, why));
        }
        tracing::info!(file = %template.path.display(), tokens, "pairs are put into the chat template");
        Ok(self)
    }

    /// Whether pairs are put into a chat template, where a prompt is the instruction: its system message.
    #[must_use]
    pub fn reads_chat(&self) -> bool {
        self.chat.is_some()
    }

    /// Tokens that a pair has beside its texts: the special tokens of its template, or all of its chat template.
    #[must_use]
    pub fn frame_tokens(&self) -> usize {
        match &self.chat {
            Some(chat) => chat.bare.tokens,
            None => self.specials(true),
        }
    }

    /// Why a prompt of the folder cannot be an instruction.
    pub(crate) fn check_instruction(&self, prompt: &str) -> Result<(), String> {
        match self.chat.as_ref().map(|chat| &chat.instructed) {
            Some(Err(why)) if !prompt.is_empty() => Err(format!("the folder has the prompt {prompt:?}, but {why}")),
            _ => Ok(()),
        }
    }

    /// Refuses what has no place in a chat template.
    pub(super) fn without_chat(&self, what: &str) -> Result<(), InputError> {
        match self.chat {
            None => Ok(()),
            Some(_) => Err(InputError::NoChat(format!(
                "{what} does not go into the model's chat template, which is for pairs of texts"
            ))),
        }
    }

    /// The first half of pairs of at most `limit` tokens, which may leave no room for a document.
    fn chat_query(
        &self,
        instruction: Option<&str>,
        query: &str,
        options: &EncodeOptions,
        limit: usize,
    ) -> Result<ChatQuery, InputError> {
        let chat = self.chat.as_ref().ok_or_else(|| InputError::NoChat("the model has no chat template".to_owned()))?;
        let refuse = |option, why: &str| Err(InputError::BadOption { option, why: why.to_owned() });
        if options.truncation == Truncation::LongestFirst {
            return refuse(
                "options.truncation",
                "the query is never cut of a pair in a chat template, nor is the template",
            );
        }
        if options.side == Some(TruncationSide::Left) {
            return refuse("options.truncation_side", "in a chat template only the end of a document is cut");
        }
        let framed = chat.frame(instruction)?;
        let contents = ChatContents { instruction, query, document: "" };
        let joined = |runs: &[Run]| -> Result<Vec<u32>, InputError> {
            let mut all = Vec::new();
            for run in runs {
                let ids = run.tokens(&chat.plain, contents)?;
                if matches!(run, Run::Text(_)) {
                    chat.guard(&ids)?;
                }
                all.extend(ids);
            }
            Ok(all)
        };
        let before = joined(&framed.runs[..framed.at])?;
        let behind = joined(framed.runs.get(framed.at + 1..).unwrap_or_default())?;
        let (head, foot) = framed.runs.get(framed.at).and_then(|run| run.around(contents)).unwrap_or_default();
        let ids = |text: &str| -> Result<Vec<u32>, InputError> {
            Ok(contained(|| Piece::of_text(&chat.plain, text, Stop::NOWHERE, PieceForm::Ids))?.ids)
        };
        let ahead = before.len() + ids(&head)?.len();
        if ahead > limit && query.len() > limit {
            return Err(InputError::QueryTooLong { tokens: ahead + behind.len(), limit });
        }
        let mut tail = Vec::new();
        if !foot.is_empty() {
            let [a, b] = FILLERS.map(|filler| ids(&format!("{filler}{foot}")));
            let (a, b) = (a?, b?);
            let same = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count().min(ids(&foot)?.len());
            tail.extend_from_slice(&a[a.len() - same..]);
        }
        tail.extend_from_slice(&behind);
        Ok(ChatQuery {
            chat: Arc::clone(chat),
            instruction: instruction.map(str::to_owned),
            query: query.to_owned(),
            before,
            head,
            foot,
            behind,
            tail,
            ahead,
        })
    }

    /// The first half of pairs, as a [`Query`].
    pub(super) fn first_of_chat(
        &self,
        instruction: &str,
        query: &str,
        options: &EncodeOptions,
    ) -> Result<Query, InputError> {
        let instruction = Some(instruction).filter(|text| !text.is_empty());
        let limit = self.limit(options, self.specials(true))?;
        let made = self.chat_query(instruction, query, options, limit)?;
        // Its tokens are counted, and read anew with each document: a seam is no end of a word.
        let piece = Piece { ids: vec![0; made.ahead], more: false, encoding: None };
        Ok(Query::of_chat(piece, limit, options, made))
    }

    /// A pair of at most `limit` tokens.
    pub(super) fn chat_pair(
        &self,
        query: &ChatQuery,
        document: &str,
        limit: usize,
        options: &EncodeOptions,
    ) -> Result<Sequence, InputError> {
        let (piece, fits) = query.document(document, limit, options, PieceForm::Ids, |stop| {
            self.stop(document, options.truncation == Truncation::Error, stop, options)
        })?;
        let ids = match fits {
            Some(keep) => {
                let whole = query.before.iter().chain(&piece.ids).copied();
                whole.take(keep).chain(query.tail.iter().copied()).collect()
            }
            None => [query.before.as_slice(), &piece.ids, &query.behind].concat(),
        };
        Ok(self.sequence(ids, Vec::new(), fits.is_some()))
    }
}

impl ChatQuery {
    /// Tokens of the document's run, and how many tokens from the beginning are kept where the pair is cut.
    fn document(
        &self,
        document: &str,
        limit: usize,
        options: &EncodeOptions,
        form: PieceForm,
        stop: impl Fn(usize) -> Stop,
    ) -> Result<(Piece, Option<usize>), InputError> {
        let contents = ChatContents { instruction: self.instruction.as_deref(), query: &self.query, document };
        let framed = self.chat.frame(contents.instruction)?;
        let rendered = self.chat.renderer.render(contents).map_err(|why| {
            InputError::NoChat(format!("the model's chat template cannot be rendered with these texts: {why}"))
        })?;
        if rendered != framed.frame.text(contents) {
            let why = "the model's chat template writes something else around these texts than around others: that is not served";
            return Err(InputError::NoChat(why.to_owned()));
        }
        let text = [self.head.as_str(), document, &self.foot].concat();
        let piece = contained(|| Piece::of_text(&self.chat.plain, &text, stop(limit), form))?;
        self.chat.guard(&piece.ids)?;
        let tokens = self.before.len() + piece.ids.len() + self.behind.len();
        if !piece.more && tokens <= limit {
            return Ok((piece, None));
        }
        if options.truncation == Truncation::Error {
            return Err(InputError::TooLong { tokens, limit });
        }
        let keep = limit.saturating_sub(self.tail.len());
        if keep <= self.ahead {
            return Err(InputError::QueryTooLong { tokens: self.ahead + self.tail.len(), limit });
        }
        Ok((piece, Some(keep)))
    }

    /// Tokens of the frame behind the document.
    pub(super) fn tail(&self) -> usize {
        self.tail.len()
    }
}
