//! What a chat template writes around the texts of a pair, found out by rendering it, and the same as tokens.

use tokenizers::{AddedToken, OffsetReferential, OffsetType};

use super::{
    super::piece::{Piece, PieceForm, Stop, contained},
    Slot,
    render::{ChatContents, Renderer},
};
use crate::error::InputError;

/// Stand for the texts while a frame is looked for: letters alone, so that no filter for white space or markup finds
/// anything to do.
const MARKS: [(Slot, &str); 3] =
    [(Slot::Instruction, "Instruktionqxzj"), (Slot::Query, "Anfrageqxzjv"), (Slot::Document, "Dokumentqxzjvw")];

/// Texts that a template must leave as they are: white space at both ends, lines, markup, quotes, Jinja, scripts.
const PROBES: [&str; 6] = [
    "  two spaces  ",
    "\n\tlines\r\n\n",
    "<b>&amp; \"quoted\" 'once' \\n \\",
    "{{ messages }}{% if x %}",
    "ÄÖÜ straße İ 漢字 🙂",
    "one. two, three: http://example.org/a.png?b=1#c",
];

/// A part of a rendered text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FramePart {
    /// The template's own.
    Fixed(String),
    /// A text of the pair.
    Slot(Slot),
}

/// What a template writes around a pair.
#[derive(Clone, Debug)]
pub(super) struct ChatFrame {
    parts: Vec<FramePart>,
}

impl ChatFrame {
    /// Reads a template's frame, or says why it has none.
    pub(super) fn read(renderer: &Renderer, source: &str, instructed: bool) -> Result<Self, String> {
        let mark = |slot| MARKS.into_iter().find(|(s, _)| *s == slot).map_or("", |(_, mark)| mark);
        if let Some((_, mark)) = MARKS.into_iter().find(|(_, mark)| source.contains(mark)) {
            return Err(format!("the chat template has the word {mark:?}, by which its parts are found"));
        }
        let contents = |instruction, query, document| ChatContents { instruction, query, document };
        let instruction = instructed.then(|| mark(Slot::Instruction));
        let rendered = renderer.render(contents(instruction, mark(Slot::Query), mark(Slot::Document)));
        let rendered = rendered.map_err(|why| format!("the chat template cannot be rendered: {why}"))?;
        let frame = Self { parts: parts(&rendered) };
        frame.fits(instructed)?;
        for (i, probe) in PROBES.into_iter().enumerate() {
            let [a, b, c] = [1, 2, 3].map(|step| PROBES[(i + step) % PROBES.len()]);
            // Each text in each place, among others and alone.
            for (query, document, instruction) in [(probe, a, b), (probe, mark(Slot::Document), c), (a, probe, c)] {
                let contents = contents(instructed.then_some(instruction), query, document);
                if renderer.render(contents)? != frame.text(contents) {
                    return Err(format!(
                        "the chat template does not write texts as they are (the query {query:?} with the document {document:?}), or \
                         writes something else around them: that is not served"
                    ));
                }
            }
        }
        Ok(frame)
    }

    /// Whether the texts stand where they may: one document, behind every query.
    fn fits(&self, instructed: bool) -> Result<(), String> {
        let count = |slot| self.parts.iter().filter(|part| **part == FramePart::Slot(slot)).count();
        let at = |slot| self.parts.iter().rposition(|part| *part == FramePart::Slot(slot));
        if instructed && count(Slot::Instruction) == 0 {
            return Err("the chat template does not show a system message, which an instruction is".to_owned());
        }
        match (count(Slot::Query), count(Slot::Document)) {
            (0, _) => return Err("the chat template does not show the message of role query".to_owned()),
            (_, 0) => return Err("the chat template does not show the message of role document".to_owned()),
            (_, 1) => {}
            _ => return Err("the chat template shows the document more than once, which is not served".to_owned()),
        }
        if at(Slot::Query) > at(Slot::Document) {
            return Err("the chat template shows the query behind the document, which is not served".to_owned());
        }
        Ok(())
    }

    /// The text of a pair.
    pub(super) fn text(&self, contents: ChatContents<'_>) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                FramePart::Fixed(text) => text,
                FramePart::Slot(slot) => contents.of(*slot),
            })
            .collect()
    }

    /// The frame as tokens and as texts between them, and which added tokens stand in it.
    pub(super) fn runs(&self, tokenizer: &tokenizers::Tokenizer) -> Result<(Vec<Run>, Vec<AddedToken>), String> {
        let added = tokenizer.get_added_vocabulary();
        let (mut runs, mut own): (Vec<Run>, Vec<AddedToken>) = (Vec::new(), Vec::new());
        let mut text = Vec::new();
        for part in &self.parts {
            let FramePart::Fixed(fixed) = part else {
                text.push(part.clone());
                continue;
            };
            let split = added.extract_and_normalize(tokenizer.get_normalizer(), fixed);
            let mut done = 0;
            for (_, (from, to), tokens) in split.get_splits(OffsetReferential::Original, OffsetType::Byte) {
                let Some(id) = tokens.as_ref().and_then(|tokens| tokens.first()).map(|token| token.id) else {
                    continue;
                };
                let Some(token) = added.get_added_tokens_decoder().get(&id) else { continue };
                if token.lstrip || token.rstrip || token.single_word {
                    return Err(format!(
                        "the chat template has the token {:?}, which depends on what stands beside it: that is not served",
                        token.content
                    ));
                }
                push(&mut text, &fixed[done..from]);
                if !text.is_empty() {
                    runs.push(Run::Text(std::mem::take(&mut text)));
                }
                runs.push(Run::Tokens(vec![id]));
                if !own.contains(token) {
                    own.push(token.clone());
                }
                done = to;
            }
            push(&mut text, &fixed[done..]);
        }
        if !text.is_empty() {
            runs.push(Run::Text(text));
        }
        Ok((runs, own))
    }
}

/// A stretch of a frame.
#[derive(Clone, Debug)]
pub(super) enum Run {
    /// Tokens that are always the same.
    Tokens(Vec<u32>),
    /// A text that becomes tokens as a whole, from one token of the frame to the next.
    Text(Vec<FramePart>),
}

impl Run {
    /// Whether a text of the pair goes into it.
    pub(super) fn has(&self, slot: Slot) -> bool {
        matches!(self, Run::Text(parts) if parts.contains(&FramePart::Slot(slot)))
    }

    /// Its tokens for a pair.
    pub(super) fn tokens(
        &self,
        plain: &tokenizers::Tokenizer,
        contents: ChatContents<'_>,
    ) -> Result<Vec<u32>, InputError> {
        match self {
            Run::Tokens(ids) => Ok(ids.clone()),
            Run::Text(parts) => {
                let text = ChatFrame { parts: parts.clone() }.text(contents);
                Ok(contained(|| Piece::of_text(plain, &text, Stop::NOWHERE, PieceForm::Ids))?.ids)
            }
        }
    }

    /// Its text before the document, and the text behind that.
    pub(super) fn around(&self, contents: ChatContents<'_>) -> Option<(String, String)> {
        let Run::Text(parts) = self else { return None };
        let at = parts.iter().position(|part| *part == FramePart::Slot(Slot::Document))?;
        let text = |parts: &[FramePart]| ChatFrame { parts: parts.to_vec() }.text(contents);
        Some((text(&parts[..at]), text(&parts[at + 1..])))
    }
}

/// Adds a text where there is one.
fn push(parts: &mut Vec<FramePart>, text: &str) {
    if !text.is_empty() {
        parts.push(FramePart::Fixed(text.to_owned()));
    }
}

/// A rendered text cut at the marks.
fn parts(rendered: &str) -> Vec<FramePart> {
    let mut parts = Vec::new();
    let mut rest = rendered;
    let next = |rest: &str| {
        let found = MARKS.into_iter().filter_map(|(slot, mark)| Some((rest.find(mark)?, slot, mark)));
        found.min_by_key(|(at, ..)| *at)
    };
    while let Some((at, slot, mark)) = next(rest) {
        push(&mut parts, &rest[..at]);
        parts.push(FramePart::Slot(slot));
        rest = &rest[at + mark.len()..];
    }
    push(&mut parts, rest);
    parts
}
