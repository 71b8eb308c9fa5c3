//! `sortie-server inspect`: what would be served of a folder or a hub name, and why. No weights are loaded and nothing
//! is run; what is refused is refused here as it would be at the start.

use std::{ffi::OsString, fmt::Write as _};

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use sortie_engine::{Inspection, inspect};
use sortie_frontend::config::unset_blank;

use crate::{config::ModelSpec, models};

/// The command line after `inspect`.
#[derive(Debug, Parser)]
#[command(
    name = "sortie-server inspect",
    about = "What would be served of a model, by which RPCs, and what is ignored"
)]
pub struct InspectArgs {
    /// A folder, or `org/repo[@revision]` on the model hub, with the options of `--model`
    #[arg(value_name = "FOLDER|HUB-NAME")]
    model: ModelSpec,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Reads the command line that follows `inspect`.
///
/// # Errors
/// As clap has it; help and version are among them.
pub fn args(rest: impl IntoIterator<Item = OsString>) -> Result<InspectArgs, clap::Error> {
    let line = std::iter::once("sortie-server inspect".into()).chain(rest);
    let matches = unset_blank(InspectArgs::command()).try_get_matches_from(line)?;
    InspectArgs::from_arg_matches(&matches)
}

/// Looks, and says what was found.
///
/// # Errors
/// When a hub name cannot be fetched, or the folder would not be served: the error names file, key and value.
pub fn describe(args: &InspectArgs) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    let (folder, _) = runtime.block_on(models::locate(&args.model))?;
    let found = inspect(&folder, &models::folder_options(&args.model))?;
    if args.json { Ok(serde_json::to_string_pretty(&found)?) } else { Ok(text(&found)?) }
}

/// For people: one key a line.
fn text(found: &Inspection) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let mut line = |key: &str, value: &str| {
        if value.is_empty() { Ok(()) } else { writeln!(out, "{key}: {value}") }
    };
    line("engine", found.engine)?;
    line("task", found.task)?;
    line("rpcs", &found.rpcs.join(", "))?;
    line("model_type", &found.model_type)?;
    line("architecture", &found.architecture)?;
    line("library_class", found.library_class.as_deref().unwrap_or_default())?;
    let several = found.routes.len() > 1;
    for route in &found.routes {
        let texts = if found.reads_roles {
            format!("texts of role {}", route.roles.join(", "))
        } else {
            "every text".to_owned()
        };
        line("route", &format!("{} ({texts})", route.input))?;
        line("  modules", &route.modules.join(", "))?;
        for step in &route.steps {
            line("  step", step)?;
        }
        if several {
            line("  tokenizer", &route.tokenizer)?;
            line("  max_length", &length(route.max_length))?;
        }
    }
    if let Some(dimensions) = found.dimensions {
        line("dimensions", &dimensions.to_string())?;
    }
    if !several {
        line("max_length", &format!("{} ({})", length(found.max_length), found.max_length_source))?;
    }
    line("query_length", &found.query_length.map(Some).map_or_else(String::new, length))?;
    line("document_length", &found.document_length.map(Some).map_or_else(String::new, length))?;
    line("truncation_side", &word(&found.truncation_side))?;
    for (name, prompt) in found.prompts.iter().filter(|(_, prompt)| !prompt.is_empty()) {
        line("prompt", &format!("{name} = {prompt:?}{}", before(found, name, prompt)))?;
    }
    line("labels", &found.labels.join(", "))?;
    line("problem_type", found.problem_type.unwrap_or_default())?;
    for own in &found.default_activation {
        line("activation", &format!("{} ({}'s default: {})", word(&own.activation), own.rpc, own.why))?;
    }
    if let Some(named) = &found.model_activation {
        let what = named.activation.as_ref().map_or_else(|| "not served".to_owned(), word);
        line("activation MODEL", &format!("{what} ({})", named.source))?;
    }
    if let Some(similarity) = &found.similarity {
        line("similarity", &format!("{} ({})", similarity.name, similarity.source))?;
    }
    if let Some(late) = &found.late_interaction {
        if let Some([query, document]) = &late.markers {
            line(
                "markers",
                &format!("{query:?} in texts of role query, {document:?} in those of role document, none"),
            )?;
        }
        line("query_expansion", late.query_expansion.as_deref().unwrap_or_default())?;
    }
    let tokenizer = &found.tokenizer;
    line("tokenizer", &format!("{}, {} entries", tokenizer.file, tokenizer.vocabulary))?;
    line("tokenizer_class", tokenizer.class.as_deref().unwrap_or_default())?;
    line("tokenizer_path", &tokenizer.path)?;
    for change in &tokenizer.changes {
        line("tokenizer_change", change)?;
    }
    for note in &found.ignored {
        line("ignored", &format!("{}: {} = {} ({})", note.file, note.key, note.value, note.why))?;
    }
    line("revision", &found.revision)?;
    Ok(out)
}

/// A length in tokens.
fn length(tokens: Option<usize>) -> String {
    tokens.map_or_else(|| "none".to_owned(), |n| n.to_string())
}

/// Before which texts a prompt goes where a request names none.
fn before(found: &Inspection, name: &str, prompt: &str) -> String {
    let is_its = |role: &str, text: &str| text == prompt && (role == "none" || role == name);
    let roles: Vec<&str> = found.prompt_by_role.iter().filter(|(r, text)| is_its(r, text)).map(|(r, _)| *r).collect();
    let asked = if found.default_activation.is_empty() { "" } else { ", a role that only a request can give" };
    match &roles[..] {
        [] => String::new(),
        ["none"] => " (before texts of no role)".to_owned(),
        roles => format!(" (before texts of role {}{asked})", roles.join(", ")),
    }
}

/// A name as JSON has it.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn tiny(name: &str) -> String {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/tiny").join(name);
        folder.to_str().unwrap().to_owned()
    }

    fn said(line: &[&str]) -> anyhow::Result<String> {
        describe(&args(line.iter().map(OsString::from)).unwrap())
    }

    #[test]
    fn a_folder_is_described_for_people_and_for_programs() {
        let text = said(&[&tiny("bert-classify3")]).unwrap();
        for line in [
            "engine: native",
            "task: classify",
            "rpcs: Classify, Tokenize, Detokenize",
            "labels: NEG, NEU, POS",
            "max_length: 192 (positions of the model)",
            "  step: head: BertForSequenceClassification, 3 logits a text, from its first token",
            "activation: softmax (Classify's default: several labels of which one is right)",
            "activation MODEL: raw (the library's rule: none for several labels)",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        let json: serde_json::Value = serde_json::from_str(&said(&[&tiny("bert-base"), "--json"]).unwrap()).unwrap();
        assert_eq!((json["task"].as_str(), json["dimensions"].as_u64()), (Some("embed"), Some(64)));
        let pooled = said(&[&format!("{},pooling=max", tiny("bert-base"))]).unwrap();
        assert!(pooled.contains("step: pool: max"), "{pooled}");
    }

    #[test]
    fn what_is_refused_is_named() {
        let error = said(&["./nowhere"]).unwrap_err();
        assert!(format!("{error:#}").contains("nowhere"), "{error:#}");
        assert!(args([]).is_err());
    }
}
