//! A chat template as transformers renders it: the same white space, the same names, no clock and no JSON.
//!
//! What would print otherwise than in Python is an error in place of another text: a name that is not there, a number with a
//! fraction, `none`, `true`. So is a template that asks for the time: its answers would change from day to day.

use std::{collections::BTreeMap, fmt::Write as _};

use minijinja::{
    Environment, Error, ErrorKind, UndefinedBehavior,
    syntax::SyntaxConfig,
    value::{Value, ValueKind},
};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::Slot;
use crate::{error::LoadError, folder::ChatTemplate};

/// Work that one rendering may take, about one a step and one for 64 bytes: templates take some hundred steps, and the
/// largest text that a server takes by default a hundred thousand times 64 bytes.
const FUEL: u64 = 4_000_000;

/// Name of the template within its environment.
const NAME: &str = "chat template";

/// What a pair brings into a template.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChatContents<'a> {
    /// The system message, where there is one.
    pub(super) instruction: Option<&'a str>,
    pub(super) query: &'a str,
    pub(super) document: &'a str,
}

impl<'a> ChatContents<'a> {
    /// The text that goes into a slot.
    pub(super) fn of(self, slot: Slot) -> &'a str {
        match slot {
            Slot::Instruction => self.instruction.unwrap_or_default(),
            Slot::Query => self.query,
            Slot::Document => self.document,
        }
    }
}

/// A template, ready to be rendered.
#[derive(Debug)]
pub(super) struct Renderer {
    environment: Environment<'static>,
    structured: bool,
    variables: Vec<(String, Value)>,
}

impl Renderer {
    /// Compiles a template.
    pub(super) fn new(template: &ChatTemplate) -> Result<Self, LoadError> {
        let invalid = |e: Error| LoadError::unsupported(&template.path, format!("the chat template: {}", told(&e)));
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(invalid)?;
        let mut environment = Environment::new();
        environment.set_syntax(syntax);
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::String => minijinja::escape_formatter(out, state, value),
            ValueKind::Number if value.is_integer() => write!(out, "{value}").map_err(Error::from),
            _ => Err(Error::new(ErrorKind::BadSerialization, format!("it prints {value}, which is no text"))),
        });
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, format!("it raises {message:?}")))
        });
        environment.add_template_owned(NAME, template.source.clone()).map_err(invalid)?;
        let mut variables = vec![
            ("tools".to_owned(), Value::from(())),
            ("documents".to_owned(), Value::from(())),
            ("add_generation_prompt".to_owned(), Value::from(false)),
        ];
        variables.extend(template.variables.iter().map(|(name, value)| (name.clone(), of_json(value))));
        Ok(Self { environment, structured: template.structured, variables })
    }

    /// The text of a pair's messages.
    pub(super) fn render(&self, contents: ChatContents<'_>) -> Result<String, String> {
        let message = |role: &str, text: &str| {
            let content = if self.structured {
                Value::from(vec![object([("type", Value::from("text")), ("text", Value::from(text))])])
            } else {
                Value::from(text)
            };
            object([("role", Value::from(role)), ("content", content)])
        };
        let system = contents.instruction.map(|text| message("system", text));
        let pair = [message("query", contents.query), message("document", contents.document)];
        let messages: Vec<Value> = system.into_iter().chain(pair).collect();
        let all = self.variables.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let all = object(all.chain([("messages", Value::from(messages))]));
        let template = self.environment.get_template(NAME);
        template.and_then(|template| template.render(all)).map_err(|e| told(&e))
    }
}

fn object<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::from(entries.into_iter().collect::<BTreeMap<_, _>>())
}

/// A value of a folder's settings.
fn of_json(value: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match value {
        Json::Null => Value::from(()),
        Json::Bool(b) => Value::from(*b),
        Json::Number(n) => n.as_i64().map(Value::from).or_else(|| n.as_f64().map(Value::from)).unwrap_or_default(),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(list) => Value::from(list.iter().map(of_json).collect::<Vec<_>>()),
        Json::Object(map) => object(map.iter().map(|(key, value)| (key.as_str(), of_json(value)))),
    }
}

/// An error with its causes, in one line.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    text
}
