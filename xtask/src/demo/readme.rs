//! The opening of a README as plain prose: what a person would read first.
//!
//! Headings, code, tables, images, badges and HTML are noise to a reranker and are
//! left out, and so are lines that are mostly links (navigation bars, sponsors).

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Characters kept: about 200 tokens of English.
pub(super) const LONGEST: usize = 1_000;

/// Shorter openings say nothing to rank by.
const SHORTEST: usize = 60;

/// The opening of `markdown`, cut at the end of a sentence; `None` where there is no prose.
pub(super) fn opening(markdown: &str) -> Option<String> {
    let text = prose(markdown);
    let text = cut(&text);
    (text.chars().count() >= SHORTEST).then(|| text.to_owned())
}

/// Paragraphs and list items one after the other, until there is enough.
fn prose(markdown: &str) -> String {
    let mut all = String::new();
    let mut block = Block::default();
    let mut noise = 0_u32;
    let mut links = 0_u32;
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Paragraph | Tag::Item) | Event::End(TagEnd::Paragraph | TagEnd::Item) => {
                block.finish_into(&mut all);
                if all.len() > 4 * LONGEST {
                    break;
                }
            }
            Event::Start(
                Tag::Heading { .. } | Tag::CodeBlock(_) | Tag::HtmlBlock | Tag::Table(_) | Tag::Image { .. },
            ) => noise += 1,
            Event::End(TagEnd::Heading(_) | TagEnd::CodeBlock | TagEnd::HtmlBlock | TagEnd::Table | TagEnd::Image) => {
                noise = noise.saturating_sub(1);
            }
            Event::Start(Tag::Link { .. }) => links += 1,
            Event::End(TagEnd::Link) => links = links.saturating_sub(1),
            Event::Text(text) | Event::Code(text) if noise == 0 => block.push(&text, links > 0),
            Event::SoftBreak | Event::HardBreak if noise == 0 => block.push(" ", false),
            _ => {}
        }
    }
    block.finish_into(&mut all);
    all
}

/// One paragraph or list item being read.
#[derive(Default)]
struct Block {
    text: String,
    linked: usize,
}

impl Block {
    fn push(&mut self, text: &str, linked: bool) {
        self.text.push_str(text);
        if linked {
            self.linked += text.len();
        }
    }

    /// Adds the block to `all` as a sentence of its own, if it is prose.
    fn finish_into(&mut self, all: &mut String) {
        let Block { text, linked } = std::mem::take(self);
        let words: Vec<_> = text.split_whitespace().collect();
        // Link definitions that resolve to nothing are read as text.
        let broken_badge = text.trim_start().starts_with("[!") || text.trim_start().starts_with("[[");
        if words.len() < 2 || 2 * linked > text.len() || broken_badge {
            return;
        }
        if !all.is_empty() {
            all.push(' ');
        }
        all.push_str(&words.join(" "));
        if all.ends_with(char::is_alphanumeric) {
            all.push('.');
        }
    }
}

/// At most [`LONGEST`] characters, up to the end of the last sentence in them, else of the last word.
fn cut(text: &str) -> &str {
    let Some((limit, _)) = text.char_indices().nth(LONGEST) else { return text };
    let (head, rest) = text.split_at(limit);
    let sentence = head
        .char_indices()
        .filter(|&(at, c)| matches!(c, '.' | '!' | '?') && text.get(at + 1..).is_some_and(|t| t.starts_with(' ')))
        .map(|(at, c)| at + c.len_utf8())
        .next_back();
    let word = if rest.starts_with(' ') { Some(limit) } else { head.rfind(' ') };
    // A first sentence that is almost nothing would throw the rest away.
    let end = sentence.filter(|&end| end * 3 >= limit).or(word).unwrap_or(limit);
    text.get(..end).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn badges_html_code_headings_and_navigation_go() {
        let markdown = "<div align=\"center\"><b>hello there you</b></div>\n\n# Title\n\n\
            [![Build](https://x/b.svg)](https://x) ![logo](l.png)\n\n\
            [Docs](https://d) | [Site](https://s) | [Chat](https://c)\n\n\
            Create your **command-line** parser\nwith [all](https://y) of the `bells`\n\n\
            ```rust\nfn main() {}\n```\n\n- it is fast\n- it is small!\n\n| a | b |\n|---|---|\n| 1 | 2 |\n";
        let text = prose(markdown);
        assert_eq!(text, "Create your command-line parser with all of the bells. it is fast. it is small!");
    }

    #[test]
    fn too_little_is_nothing() {
        assert_eq!(opening("# clap\n\n[![x](y)](z)\n"), None);
        assert_eq!(opening("Just a few words."), None);
    }

    #[test]
    fn a_long_text_ends_with_a_sentence() {
        let sentence = "This sentence is there to fill the page with something. ";
        let text = opening(&sentence.repeat(100)).unwrap();
        assert!(text.len() <= LONGEST && text.len() > LONGEST - 2 * sentence.len(), "{}", text.len());
        assert!(text.ends_with("something."));
    }

    #[test]
    fn a_text_without_sentences_ends_with_a_word() {
        let text = opening(&"ümlaut ".repeat(400)).unwrap();
        assert!(text.chars().count() <= LONGEST && text.ends_with("ümlaut"), "{text}");
        let unbroken = opening(&"ü".repeat(3 * LONGEST));
        assert_eq!(unbroken, None, "one word is no prose");
    }

    #[test]
    fn a_version_number_is_no_end_of_a_sentence() {
        let text = format!("{} 1.2.3 {}", "word ".repeat(150), "word ".repeat(400));
        assert!(opening(&text).unwrap().ends_with("word"));
    }
}
