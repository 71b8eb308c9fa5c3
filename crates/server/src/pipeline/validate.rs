//! Checks that need nothing but the request and the model's facts. Each refusal
//! names the field and, where there is one, the limit.

use std::sync::Arc;

use sortie_engine::{EncodeOptions, ModelInfo, Role, Truncation, TruncationSide};
use sortie_frontend::ServeError;
use sortie_proto::v1::{self, Input, TextOptions};

use crate::models::Served;

/// Text that goes before an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PromptText {
    pub(crate) text: String,
    /// The caller asked for it; otherwise it is the folder's.
    pub(crate) asked: bool,
}

/// [`TextOptions`], checked.
#[derive(Clone, Debug)]
pub(crate) struct TextRules {
    /// How texts are read and made to fit.
    pub(crate) fit: EncodeOptions,
    /// The prompt that goes before them: the one asked for, else the folder's for the role.
    pub(crate) prompt: Option<Arc<PromptText>>,
}

impl TextRules {
    /// The same for texts of `role`.
    pub(crate) fn of_role(&self, role: Option<Role>, info: &ModelInfo) -> Self {
        let asked = self.prompt.clone().filter(|prompt| prompt.asked);
        Self { fit: EncodeOptions { role, ..self.fit }, prompt: asked.or_else(|| own_prompt(info, role)) }
    }

    /// The same without the prompt that was asked for.
    pub(crate) fn with_own_prompt(self, info: &ModelInfo) -> Self {
        Self { prompt: own_prompt(info, self.fit.role), ..self }
    }
}

fn own_prompt(info: &ModelInfo, role: Option<Role>) -> Option<Arc<PromptText>> {
    info.prompt_of(role).map(|text| Arc::new(PromptText { text: text.to_owned(), asked: false }))
}

/// A list must have something in it, not too much, and every input its kind.
pub(crate) fn check_list(field: &'static str, inputs: &[Input], max_items: u32) -> Result<(), ServeError> {
    if inputs.is_empty() {
        return Err(ServeError::EmptyList { field });
    }
    if inputs.len() > max_items as usize {
        return Err(ServeError::TooManyItems { field, count: inputs.len(), limit: max_items });
    }
    match inputs.iter().position(|i| i.kind.is_none()) {
        Some(at) => Err(ServeError::MissingInput { field: format!("{field}[{at}]") }),
        None => Ok(()),
    }
}

/// An enum's value, or the refusal of a number that is none.
pub(crate) fn enum_value<E: TryFrom<i32>>(field: &'static str, value: i32) -> Result<E, ServeError> {
    E::try_from(value).map_err(|_| ServeError::bad_field(field, format!("{value} is not one of its values")))
}

/// Checks options against the model.
pub(crate) fn text_rules(served: &Served, options: Option<TextOptions>) -> Result<TextRules, ServeError> {
    let info = served.info();
    let options = options.unwrap_or_default();
    let truncation = match enum_value("options.truncation", options.truncation)? {
        v1::Truncation::Unspecified | v1::Truncation::DocumentOnly => Truncation::DocumentOnly,
        v1::Truncation::LongestFirst => Truncation::LongestFirst,
        v1::Truncation::Error => Truncation::Error,
    };
    let role = match enum_value("options.role", options.role)? {
        v1::Role::Unspecified => None,
        v1::Role::Query => Some(Role::Query),
        v1::Role::Document => Some(Role::Document),
    };
    let side = match enum_value("options.truncation_side", options.truncation_side)? {
        v1::TruncationSide::Unspecified => None,
        v1::TruncationSide::Left => Some(TruncationSide::Left),
        v1::TruncationSide::Right => Some(TruncationSide::Right),
    };
    let asked = asked_prompt(&served.name, &info.prompts, options.prompt_name, options.prompt)?;
    Ok(TextRules {
        fit: EncodeOptions {
            truncation,
            max_length: (options.max_length > 0).then_some(options.max_length as usize),
            side,
            role,
            plain: options.plain_text,
        },
        prompt: asked.or_else(|| own_prompt(info, role)),
    })
}

fn asked_prompt(
    model: &str,
    known: &[(String, String)],
    name: String,
    text: String,
) -> Result<Option<Arc<PromptText>>, ServeError> {
    let text = match (name.is_empty(), text.is_empty()) {
        (true, true) => return Ok(None),
        (false, false) => return Err(ServeError::TwoPrompts),
        (true, false) => text,
        (false, true) => match find(known, &name) {
            Some(text) => text.to_owned(),
            None => {
                let known = known.iter().map(|(n, _)| n.clone()).collect();
                return Err(ServeError::UnknownPrompt { model: model.to_owned(), name, known });
            }
        },
    };
    Ok(Some(Arc::new(PromptText { text, asked: true })))
}

fn find<'a>(prompts: &'a [(String, String)], name: &str) -> Option<&'a str> {
    prompts.iter().find(|(n, _)| n == name).map(|(_, text)| text.as_str())
}

/// Refuses work whose answer is known not to fit a message.
pub(crate) fn check_answer_size(served: &Served, items: usize, bytes_per_item: usize) -> Result<(), ServeError> {
    let bytes = (items as u64).saturating_mul(bytes_per_item as u64);
    let limit = served.limits.max_message_bytes;
    if bytes > limit { Err(ServeError::AnswerTooLarge { bytes, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use sortie_proto::v1::input::Kind;

    use super::*;

    fn text() -> Input {
        Input { kind: Some(Kind::Text(String::new())) }
    }

    #[test]
    fn lists_are_checked() {
        assert_eq!(check_list("inputs", &[], 2), Err(ServeError::EmptyList { field: "inputs" }));
        assert_eq!(check_list("inputs", &[text(), text()], 2), Ok(()));
        let many = ServeError::TooManyItems { field: "inputs", count: 3, limit: 2 };
        assert_eq!(check_list("inputs", &[text(), text(), text()], 2), Err(many));
        let missing = ServeError::MissingInput { field: "inputs[1]".to_owned() };
        assert_eq!(check_list("inputs", &[text(), Input { kind: None }], 2), Err(missing));
    }

    #[test]
    fn unknown_numbers_of_enums_are_refused() {
        let error = enum_value::<v1::Truncation>("options.truncation", 77).unwrap_err();
        assert!(error.to_string().contains("77"), "{error}");
    }

    #[test]
    fn prompts_are_found_or_refused() {
        let known = [("query".to_owned(), "query: ".to_owned())];
        let ask = |name: &str, text: &str| asked_prompt("m", &known, name.to_owned(), text.to_owned());
        assert_eq!(ask("", ""), Ok(None));
        assert_eq!(ask("query", "").unwrap().unwrap().text, "query: ");
        assert_eq!(ask("", "my: ").unwrap().unwrap().text, "my: ");
        assert_eq!(ask("query", "my: "), Err(ServeError::TwoPrompts));
        assert!(ask("passage", "").unwrap_err().to_string().contains("it has query"));
    }
}
