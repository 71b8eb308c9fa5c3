//! Inputs: from arguments, files or standard input to a list of [`InputItem`]s.
//!
//! Invariant: order is kept. In plain files line *n* is item *n*, blank lines
//! too (an empty text is valid); in JSON Lines blank lines hold nothing.

mod jsonl;
mod lines;

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read},
    path::Path,
};

use serde_json::Value;
use sortie_client::{Input, TokenIds};

use crate::{args::InputArgs, exit::CommandFailure};

/// One thing to encode, with the caller's own name for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InputItem {
    /// `id` of its JSON object.
    pub(crate) id: Option<Value>,
    /// What it holds.
    pub(crate) body: Body,
}

/// What an item holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Plain text.
    Text(String),
    /// Two texts read together.
    Pair(String, String),
    /// Ids made with the model's own tokenizer; types empty or as long as ids.
    Tokens(Vec<u32>, Vec<u32>),
}

impl InputItem {
    /// A text without an id.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { id: None, body: Body::Text(text.into()) }
    }

    /// Bytes it takes on the wire, nearly.
    pub(crate) fn bytes(&self) -> usize {
        match &self.body {
            Body::Text(text) => text.len(),
            Body::Pair(first, second) => first.len() + second.len(),
            Body::Tokens(ids, types) => 4 * (ids.len() + types.len()),
        }
    }

    /// What a table shows of it.
    pub(crate) fn label(&self) -> String {
        match &self.body {
            Body::Text(text) => text.clone(),
            Body::Pair(first, second) => format!("{first} ⇥ {second}"),
            Body::Tokens(ids, _) => format!("{} token ids", ids.len()),
        }
    }

    /// The text that spans point into, if there is one.
    pub(crate) fn tagged_text(&self) -> Option<&str> {
        match &self.body {
            Body::Text(text) | Body::Pair(text, _) => Some(text),
            Body::Tokens(..) => None,
        }
    }
}

impl From<&InputItem> for Input {
    fn from(item: &InputItem) -> Self {
        match &item.body {
            Body::Text(text) => Self::from(text),
            Body::Pair(first, second) => Self::from((first, second)),
            Body::Tokens(ids, types) => TokenIds::new(ids.as_slice()).with_type_ids(types.as_slice()).into(),
        }
    }
}

/// How lines are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineFormat<'a> {
    /// Lines are pairs.
    pub(crate) pair: bool,
    /// Field of JSON objects that holds the text.
    pub(crate) field: &'a str,
    /// Read as JSON Lines whatever the file's name.
    pub(crate) jsonl: bool,
}

/// All inputs of a command: arguments first, then files; with neither, standard input.
pub(crate) fn items(arguments: &[String], args: &InputArgs, pair: bool) -> Result<Vec<InputItem>, CommandFailure> {
    let format = LineFormat { pair, field: &args.field, jsonl: args.jsonl };
    let mut items = Vec::new();
    let mut stdin_read = false;
    if arguments == ["-"] {
        stdin_read = true;
        items.extend(read(io::stdin().lock(), "standard input", false, format)?);
    } else {
        items.extend(from_arguments(arguments, pair)?);
    }
    for path in &args.file {
        if path.as_os_str() == "-" {
            if stdin_read {
                return Err(CommandFailure::usage("standard input can be read once only"));
            }
            stdin_read = true;
            items.extend(read(io::stdin().lock(), "standard input", false, format)?);
        } else {
            items.extend(from_file(path, format)?);
        }
    }
    if arguments.is_empty() && args.file.is_empty() && !io::stdin().is_terminal() {
        items.extend(read(io::stdin().lock(), "standard input", false, format)?);
    }
    if items.is_empty() {
        return Err(
            CommandFailure::usage("no texts to send").hint("give them as arguments, with --file, or on standard input")
        );
    }
    Ok(items)
}

/// Arguments are texts; pairs are taken two by two.
fn from_arguments(arguments: &[String], pair: bool) -> Result<Vec<InputItem>, CommandFailure> {
    if !pair {
        return Ok(arguments.iter().map(InputItem::text).collect());
    }
    if arguments.len() % 2 == 1 {
        return Err(CommandFailure::usage(format!(
            "--pair takes arguments two by two, and {} were given",
            arguments.len()
        )));
    }
    let pairs = arguments.chunks_exact(2);
    Ok(pairs.map(|two| InputItem { id: None, body: Body::Pair(two[0].clone(), two[1].clone()) }).collect())
}

fn from_file(path: &Path, format: LineFormat<'_>) -> Result<Vec<InputItem>, CommandFailure> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| CommandFailure::usage(format!("{name}: {error}")))?;
    let json = path.extension().is_some_and(|ext| ext == "jsonl" || ext == "ndjson");
    read(BufReader::new(file), &name, json, format)
}

/// Reads every line of `source`, which errors name.
fn read(reader: impl Read, source: &str, json: bool, format: LineFormat<'_>) -> Result<Vec<InputItem>, CommandFailure> {
    let mut items = Vec::new();
    for line in lines::Lines::new(reader) {
        let line = line.map_err(|error| CommandFailure::usage(format!("{source}{error}")))?;
        let at = |what: String| CommandFailure::usage(format!("{source} line {}: {what}", line.number));
        if json || format.jsonl {
            if !line.text.trim().is_empty() {
                items.push(jsonl::item(&line.text, format).map_err(at)?);
            }
        } else if format.pair {
            let Some((first, second)) = line.text.split_once('\t') else {
                return Err(at("no tab between the two texts of the pair".to_owned()));
            };
            items.push(InputItem { id: None, body: Body::Pair(first.to_owned(), second.to_owned()) });
        } else {
            items.push(InputItem::text(line.text));
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const PLAIN: LineFormat<'_> = LineFormat { pair: false, field: "text", jsonl: false };

    fn texts(source: &[u8], format: LineFormat<'_>) -> Result<Vec<String>, String> {
        let items = read(source, "docs", false, format).map_err(|failure| failure.message)?;
        Ok(items.iter().map(InputItem::label).collect())
    }

    #[test]
    fn lines_keep_their_places() {
        assert_eq!(texts(b"one\n\nthree\n", PLAIN).unwrap(), ["one", "", "three"]);
        assert_eq!(texts(b"one\r\nlast without end", PLAIN).unwrap(), ["one", "last without end"]);
        assert_eq!(texts(b"\xef\xbb\xbfmarked", PLAIN).unwrap(), ["marked"]);
        assert!(texts(b"", PLAIN).unwrap().is_empty());
    }

    #[test]
    fn bad_bytes_name_the_line() {
        let error = texts(b"fine\nnot \xff fine\n", PLAIN).unwrap_err();
        assert_eq!(error, "docs line 2: not valid UTF-8 at byte 4");
    }

    #[test]
    fn pairs_split_at_the_first_tab() {
        let format = LineFormat { pair: true, ..PLAIN };
        assert_eq!(texts(b"a\tb\tc\n", format).unwrap(), ["a ⇥ b\tc"]);
        assert_eq!(texts(b"a\tb\nc\n", format).unwrap_err(), "docs line 2: no tab between the two texts of the pair");
    }

    #[test]
    fn arguments_pair_two_by_two() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let pairs = from_arguments(&words("a b c d"), true).unwrap();
        assert_eq!(pairs[1].body, Body::Pair("c".to_owned(), "d".to_owned()));
        assert!(from_arguments(&words("a b c"), true).is_err());
    }

    #[test]
    fn the_name_of_a_file_says_its_format() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docs.jsonl");
        let mut file = File::create(&path).unwrap();
        writeln!(file, "\"one\"\n\n{{\"id\": 7, \"text\": \"two\"}}").unwrap();
        let items = from_file(&path, PLAIN).unwrap();
        assert_eq!(
            items,
            [InputItem::text("one"), InputItem { id: Some(7.into()), body: Body::Text("two".to_owned()) }]
        );
        let missing = from_file(&folder.path().join("none"), PLAIN).unwrap_err();
        assert!(missing.message.contains("none"), "{missing}");
    }
}
