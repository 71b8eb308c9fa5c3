//! Tokens of a pair in a chat template with their places in its texts.

use super::{
    super::{
        TokenDetail, TokenizedText,
        piece::{Piece, PieceForm, Stop, contained},
        script,
    },
    ChatContents, ChatQuery, Run, Slot,
    frame::FramePart,
};
use crate::{
    error::InputError,
    tokenize::{EncodeOptions, Tokenizer, Truncation},
};

/// Forms whose offsets count in the text they are made of.
const WITH_PLACES: PieceForm = PieceForm::Encoding { segment: 0 };

impl Tokenizer {
    /// A pair in the chat template with details. Without `frame` the tokens of its texts alone: what the frame has is left out.
    pub(in crate::tokenize) fn chat_detail(
        &self,
        query: &ChatQuery,
        document: &str,
        limit: usize,
        options: &EncodeOptions,
        frame: bool,
    ) -> Result<TokenizedText, InputError> {
        let mut sequence = self.chat_pair(query, document, limit, options)?;
        let (piece, keep) = query.document(document, limit, options, WITH_PLACES, |stop| {
            self.stop(document, options.truncation == Truncation::Error, stop, options)
        })?;
        let contents = ChatContents { instruction: query.instruction.as_deref(), query: &query.query, document };
        let framed = query.chat.frame(contents.instruction)?;
        let mut details = Vec::with_capacity(sequence.len());
        for (at, run) in framed.runs.iter().enumerate() {
            match run {
                Run::Tokens(ids) => details.extend(ids.iter().map(|&id| self.of_frame(id))),
                Run::Text(parts) if at == framed.at => details.extend(placed(&piece, parts, contents)),
                Run::Text(parts) => {
                    let text: String = parts.iter().map(|part| text_of(part, contents)).collect();
                    let piece = contained(|| Piece::of_text(&query.chat.plain, &text, Stop::NOWHERE, WITH_PLACES))?;
                    details.extend(placed(&piece, parts, contents));
                }
            }
        }
        if let Some(keep) = keep {
            details.truncate(keep);
            details.extend(query.tail.iter().map(|&id| self.of_frame(id)));
        }
        if !frame {
            let mut kept = details.iter().map(|detail| !detail.special);
            sequence.ids.retain(|_| kept.next().unwrap_or(false));
            details.retain(|detail| !detail.special);
        }
        Ok(TokenizedText { sequence, details })
    }

    /// A token of the frame.
    fn of_frame(&self, id: u32) -> TokenDetail {
        TokenDetail {
            token: self.inner.id_to_token(id).unwrap_or_default(),
            start: 0,
            end: 0,
            special: true,
            second: false,
            continues: false,
        }
    }
}

fn text_of<'a>(part: &'a FramePart, contents: ChatContents<'a>) -> &'a str {
    match part {
        FramePart::Fixed(text) => text,
        FramePart::Slot(slot) => contents.of(*slot),
    }
}

/// The tokens of a run: those that have a part of the query or of the document have their place there.
fn placed(piece: &Piece, parts: &[FramePart], contents: ChatContents<'_>) -> Vec<TokenDetail> {
    let Some(encoding) = &piece.encoding else { return Vec::new() };
    // Where each text of the pair stands in the run.
    let mut texts = Vec::new();
    let mut from = 0;
    for part in parts {
        let to = from + text_of(part, contents).len();
        if let FramePart::Slot(slot @ (Slot::Query | Slot::Document)) = part {
            texts.push((*slot, from, to));
        }
        from = to;
    }
    let words = encoding.get_word_ids();
    let mut before: Option<(Slot, usize)> = None;
    let details = (0..piece.ids.len()).map(|i| {
        let (start, end) = encoding.get_offsets()[i];
        let of = texts.iter().find(|(_, from, to)| start < *to && end > *from);
        let token = encoding.get_tokens()[i].clone();
        let Some(&(slot, from, to)) = of else {
            before = None;
            return TokenDetail { token, start: 0, end: 0, special: true, second: false, continues: false };
        };
        let source = contents.of(slot);
        let start = source.floor_char_boundary(start.max(from) - from);
        let end = source.ceil_char_boundary(end.min(to) - from).max(start);
        let same_word = i > 0 && words[i].is_some() && words[i] == words[i - 1];
        let continues =
            before.is_some_and(|(other, end)| same_word && other == slot && script::goes_on(source, end, start));
        before = Some((slot, end));
        TokenDetail { token, start, end, special: false, second: slot == Slot::Document, continues }
    });
    details.collect()
}
