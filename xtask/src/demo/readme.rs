//! The opening of a README as plain prose: what a person would read first. Headings, code, tables, images and HTML are
//! noise to a reranker and are left out, and so are paragraphs that begin with a link (badges, navigation bars).

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Characters kept: about 200 tokens of English.
const LONGEST: usize = 1_000;

/// Shorter openings say nothing to rank by.
const SHORTEST: usize = 60;

/// The opening of `markdown`, cut at the end of a word; `None` where there is no prose.
pub(super) fn opening(markdown: &str) -> Option<String> {
    let text = prose(markdown);
    let end = text
        .char_indices()
        .nth(LONGEST)
        .map_or(text.len(), |(limit, _)| text.get(..limit).and_then(|head| head.rfind(' ')).unwrap_or(limit));
    let text = text.get(..end)?;
    (text.chars().count() >= SHORTEST).then(|| text.to_owned())
}

/// Paragraphs and list items, a sentence each at least.
fn prose(markdown: &str) -> String {
    let (mut all, mut block) = (String::new(), String::new());
    let mut noise = 0_u32;
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Paragraph | Tag::Item) => block.clear(),
            Event::End(TagEnd::Paragraph | TagEnd::Item) => {
                let words: Vec<_> = block.split_whitespace().collect();
                if words.len() > 1 && !block.starts_with('[') {
                    let end = if block.ends_with(char::is_alphanumeric) { ". " } else { " " };
                    all += &(words.join(" ") + end);
                }
                block.clear();
            }
            // Brackets mark a block that begins with a link, or with one that resolves to nothing.
            Event::Start(Tag::Link { .. }) if block.is_empty() => block.push('['),
            Event::Start(
                Tag::Heading { .. } | Tag::CodeBlock(_) | Tag::HtmlBlock | Tag::Table(_) | Tag::Image { .. },
            ) => noise += 1,
            Event::End(TagEnd::Heading(_) | TagEnd::CodeBlock | TagEnd::HtmlBlock | TagEnd::Table | TagEnd::Image) => {
                noise = noise.saturating_sub(1);
            }
            Event::Text(text) | Event::Code(text) if noise == 0 => block += &text,
            Event::SoftBreak | Event::HardBreak => block.push(' '),
            _ => {}
        }
    }
    all.trim_end().to_owned()
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
    fn too_little_is_nothing_and_too_much_ends_with_a_word() {
        assert_eq!(opening("# clap\n\n[![x](y)](z)\n"), None);
        assert_eq!(opening("Just a few words."), None);
        let text = opening(&"ümlaut ".repeat(400)).unwrap();
        assert!(text.chars().count() <= LONGEST && text.ends_with("ümlaut"), "{text}");
    }
}
