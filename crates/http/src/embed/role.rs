//! `input_type`: what a text is for, in the words of Cohere, Voyage and NIM.

use sortie_proto::v1::{ModelInfo, Role, TextOptions};

use crate::failure::HttpFailure;

/// Asks for the model's way of reading such texts: its role, else its prompt of that name. A model that has neither
/// reads all texts alike, and nothing is lost.
pub(crate) fn apply_input_type(
    options: &mut TextOptions,
    model: &ModelInfo,
    value: Option<&str>,
) -> Result<(), HttpFailure> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(()) };
    let (role, names): (_, &[&str]) = match value {
        "query" | "search_query" => (Some(Role::Query), &["query", "search_query"]),
        "document" | "search_document" | "passage" => {
            (Some(Role::Document), &["document", "search_document", "passage"])
        }
        "classification" => (None, &["classification"]),
        "clustering" => (None, &["clustering"]),
        other => {
            let known = "query, document, passage, search_query, search_document, classification, clustering";
            return Err(HttpFailure::field("input_type", format!("{other:?} is none of {known}")));
        }
    };
    if !options.prompt_name.is_empty() {
        return Ok(());
    }
    if let Some(role) = role.filter(|role| model.roles().any(|taken| taken == *role)) {
        options.role = role.into();
        return Ok(());
    }
    let named = |name: &&&str| model.prompts.iter().any(|prompt| prompt.name == ***name);
    if let Some(name) = std::iter::once(&value).chain(names).find(named) {
        options.prompt_name = (*name).to_owned();
    }
    Ok(())
}
