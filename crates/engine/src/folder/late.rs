//! Late interaction in any of its layouts: how its texts are read, and the steps that its files leave unsaid.

use std::path::Path;

use super::{
    config::Config,
    keys::Notes,
    library::{Library, Pylate},
    modules::Routes,
    stanford,
    transformer::{Expansion, TransformerRules},
};
use crate::{
    error::LoadError,
    post::{LateSimilarity, Step, TokenMask},
    task::Role,
};

/// How texts of a late-interaction model are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LateInteraction {
    /// Token right after a text's first, by role.
    pub(crate) markers: Option<[String; 2]>,
    /// Longest query and longest document, specials included.
    pub(crate) lengths: [Option<usize>; 2],
    pub(crate) expansion: Option<Expansion>,
    pub(crate) similarity: LateSimilarity,
}

impl LateInteraction {
    /// Whether its texts are read by PyLate's rules: they have markers there, and nowhere else.
    pub(crate) fn is_pylate(&self) -> bool {
        self.markers.is_some()
    }
}

/// Late interaction in any of its layouts, and the steps that its files leave unsaid.
pub(super) fn late_interaction(
    root: &Path,
    config: &Config,
    library: &Library,
    rules: &TransformerRules,
    routes: &mut Routes,
    notes: &mut Notes,
) -> Result<Option<LateInteraction>, LoadError> {
    let is_stanford = config.architectures.iter().flatten().any(|a| a == stanford::ARCHITECTURE);
    let pylate = match (&library.pylate, is_stanford) {
        (Some(pylate), _) => Some(pylate.clone()),
        (None, true) => Some(stanford::rules(root, notes)?),
        (None, false) => None,
    };
    let masks = routes.all().iter().any(|route| route.masks);
    if pylate.is_none() && !masks && library.model_type.as_deref() != Some("MultiVectorEncoder") {
        if rules.expansion.is_some() {
            return Err(LoadError::unsupported(
                &root.join("sentence_bert_config.json"),
                "query_expansion is not served without a MultiVectorMask, which lets the tokens count",
            ));
        }
        return Ok(None);
    }
    let late = match pylate {
        Some(pylate) => from_pylate(root, pylate, is_stanford, routes)?,
        None => LateInteraction {
            markers: None,
            lengths: [rules.query_length, rules.document_length],
            expansion: rules.expansion.clone(),
            similarity: library.late_similarity(),
        },
    };
    if let Some(expansion) = &late.expansion
        && let Some(longest) = late.lengths[0]
        && longest < expansion.length
    {
        return Err(LoadError::unsupported(
            &root.join("sentence_bert_config.json"),
            format!("query_length {longest} is below the length {} of query_expansion", expansion.length),
        ));
    }
    let attend = late.expansion.as_ref().is_some_and(|e| e.attend);
    for route in routes.all_mut() {
        if route.chain.pools() {
            return Err(LoadError::unsupported(
                &root.join("modules.json"),
                "Pooling in a model of one vector a token is not served",
            ));
        }
        route.chain.attend_expansion = attend;
    }
    Ok(Some(late))
}

/// PyLate's folders name neither mask nor norm: both are in its code.
fn from_pylate(
    root: &Path,
    pylate: Pylate,
    is_stanford: bool,
    routes: &mut Routes,
) -> Result<LateInteraction, LoadError> {
    for route in routes.all_mut() {
        if is_stanford {
            route.chain.steps = vec![Step::TokenDense(stanford::projection(root)?)];
        }
        // Of what is listed PyLate takes the encoder and the Dense modules alone.
        route.chain.steps.retain(|step| matches!(step, Step::TokenDense(_)));
        if route.chain.steps.is_empty() {
            return Err(LoadError::unsupported(
                &root.join("modules.json"),
                "a ColBERT model without its projection is not served",
            ));
        }
        let mask = TokenMask { skipped: Vec::new(), roles: vec![Role::Document], kept: Vec::new() };
        route.chain.steps.extend([Step::Mask(mask), Step::NormalizeTokens]);
        (route.masks, route.skiplist) = (true, pylate.skiplist.clone());
    }
    Ok(LateInteraction {
        markers: Some([pylate.query_prefix, pylate.document_prefix]),
        lengths: [Some(pylate.query_length), Some(pylate.document_length)],
        expansion: pylate.expansion,
        similarity: LateSimilarity::MaxSim,
    })
}

/// Refuses a similarity that is not of the model's kind.
pub(super) fn similarity_fits(root: &Path, library: &Library, is_late: bool) -> Result<(), LoadError> {
    let Some(name) = &library.similarity else { return Ok(()) };
    let of_tokens = name.to_lowercase().ends_with("maxsim");
    // Older folders of late interaction carry the dense library's default, which nobody obeys.
    if is_late || !of_tokens {
        return Ok(());
    }
    Err(LoadError::unsupported(
        &root.join("config_sentence_transformers.json"),
        format!(
            "similarity_fn_name {name:?} is not served: it compares one vector a token, and the model gives one a text"
        ),
    ))
}
