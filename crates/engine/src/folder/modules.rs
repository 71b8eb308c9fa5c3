//! `modules.json` to routes: each a way in and the steps that follow.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::{
    causal::LogitScore,
    class::Class,
    keys::{FileKeys, Notes, shown},
    layers::{self, DenseOutput},
    library::Library,
    read_json,
    router::Router,
    tokenizer_config::{ClassHints, TokenizerRules},
};
use crate::{
    error::LoadError,
    post::{Chain, SparseRule, Step},
    task::Role,
};

/// One module of the list. `idx` and `name` say nothing that the order does not.
#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    class: String,
    #[serde(default)]
    kwargs: serde_json::Value,
}

/// How a text comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteInput {
    /// Through an encoder in this folder.
    Encoder {
        /// Where its config.json, weights and tokenizer lie.
        folder: PathBuf,
        /// With its masked-LM head.
        masked_lm: bool,
    },
    /// As the mean of its tokens' rows of a table in this folder.
    Static(PathBuf),
    /// As one weight for each of its ids, from this folder.
    SparseStatic(PathBuf),
}

impl RouteInput {
    /// What tells the tokenizer of a table how to read texts: StaticEmbedding reads tokenizer.json alone, and a table of
    /// weights as transformers does.
    pub(crate) fn tokenizer_rules(&self, notes: &mut Notes) -> Result<TokenizerRules, LoadError> {
        match self {
            RouteInput::SparseStatic(folder) => TokenizerRules::read(folder, ClassHints::default(), notes),
            RouteInput::Static(_) | RouteInput::Encoder { .. } => Ok(TokenizerRules::default()),
        }
    }
}

/// One way through a model.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) input: RouteInput,
    pub(crate) chain: Chain,
    /// Set where it ends in sparse weights.
    pub(crate) sparse: Option<SparseRule>,
    /// It ends in the scores of a cross-encoder.
    pub(crate) scores: bool,
    /// Set where its scores are logits of a causal language model.
    pub(crate) logit_score: Option<LogitScore>,
    /// It says which tokens have a vector: late interaction.
    pub(crate) masks: bool,
    /// Words of the skip list, whose ids the tokenizer knows.
    pub(crate) skiplist: Vec<String>,
    /// Names and folders of its modules, for people.
    pub(crate) modules: Vec<String>,
    /// Folders of its modules.
    pub(crate) folders: Vec<PathBuf>,
}

/// The routes of a folder, by role.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    all: Vec<Route>,
    /// Of no role, a query, a document: places in `all`; `None` where such a text is refused.
    by_role: [Option<usize>; 3],
}

impl Route {
    /// Whether it pools the logits of a masked-LM head.
    pub(super) fn pools_logits(&self) -> bool {
        matches!(self.input, RouteInput::Encoder { masked_lm: true, .. }) && self.chain.pools()
    }
}

impl Routes {
    /// None: what is left where they were taken out.
    pub(crate) fn empty() -> Self {
        Self { all: Vec::new(), by_role: [None; 3] }
    }

    /// One route for every text.
    pub(crate) fn single(route: Route) -> Self {
        Self { all: vec![route], by_role: [Some(0); 3] }
    }

    /// The route of a role, where it has one.
    pub(crate) fn of(&self, role: Option<Role>) -> Option<&Route> {
        self.place(role).and_then(|i| self.all.get(i))
    }

    /// The place of a role's route among all.
    pub(crate) fn place(&self, role: Option<Role>) -> Option<usize> {
        self.by_role[role.map_or(0, |r| r as usize + 1)]
    }

    /// The first that goes through the encoder.
    pub(crate) fn encoder(&self) -> Option<&Route> {
        let through = |route: &&Route| matches!(route.input, RouteInput::Encoder { .. });
        self.of(None).filter(through).or_else(|| self.all.iter().find(through))
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Route] {
        &self.all
    }

    /// All of them, to change.
    pub(crate) fn all_mut(&mut self) -> &mut [Route] {
        &mut self.all
    }

    /// The route of texts without a role, else the first.
    pub(crate) fn main(&self) -> &Route {
        &self.all[self.by_role[0].unwrap_or(0)]
    }
}

/// Reads `modules.json`; `None` where there is none.
pub(super) fn read(root: &Path, library: &mut Library, notes: &mut Notes) -> Result<Option<Routes>, LoadError> {
    let path = root.join("modules.json");
    if !path.is_file() {
        return Ok(None);
    }
    let listed: Vec<Listed> = read_json(&path)?;
    if listed.is_empty() {
        return Err(LoadError::invalid(&path, "it lists no module"));
    }
    for module in &listed {
        // What the library hands to a module's forward pass at every call.
        if !matches!(&module.kwargs, serde_json::Value::Null)
            && module.kwargs != json!([])
            && module.kwargs != json!(["task"])
        {
            return Err(LoadError::unsupported(&path, format!("kwargs {} is not served", shown(&module.kwargs))));
        }
    }
    let modules: Vec<(String, String)> = listed.into_iter().map(|m| (m.path, m.class)).collect();
    // A folder of PyLate's that has no settings of its own, or none that say so.
    if library.model_type.is_none() && modules.iter().any(|(_, class)| Class::of(class) == Some(Class::PylateDense)) {
        library.pylate.get_or_insert_default();
    }
    let library = &*library;
    let reader = Reader { path: &path, library, notes };
    let Some(at) = modules.iter().position(|(_, class)| Class::of(class) == Some(Class::Router)) else {
        return reader.route(root, &modules).map(|route| Some(Routes::single(route)));
    };
    if at != 0 {
        return Err(LoadError::unsupported(&path, "a Router that is not the first module is not served"));
    }
    let base = inside(root, &modules[0].0, &path)?;
    let router = Router::read(&base)?;
    let mut all = Vec::new();
    let mut reader = reader;
    for (_, ids) in &router.routes {
        let mut chain: Vec<(String, String)> = Vec::new();
        for id in ids {
            let class = router.types.get(id).cloned().unwrap_or_default();
            chain.push((joined(&modules[0].0, id), class));
        }
        chain.extend_from_slice(&modules[1..]);
        all.push(reader.again().route(root, &chain)?);
    }
    let place = |role| router.resolve(role).and_then(|name| router.routes.iter().position(|(n, _)| n == name));
    Ok(Some(Routes { by_role: [place(None), place(Some(Role::Query)), place(Some(Role::Document))], all }))
}

struct Reader<'a> {
    path: &'a Path,
    library: &'a Library,
    notes: &'a mut Notes,
}

impl Reader<'_> {
    fn again(&mut self) -> Reader<'_> {
        Reader { path: self.path, library: self.library, notes: self.notes }
    }

    /// One chain of modules: a way in first, then steps.
    fn route(self, root: &Path, modules: &[(String, String)]) -> Result<Route, LoadError> {
        let refuse = |why: String| Err(LoadError::unsupported(self.path, why));
        let late = matches!(self.library.model_type.as_deref(), Some("MultiVectorEncoder" | "ColBERT"));
        let mut route: Option<Route> = None;
        for (place, class_path) in modules {
            let folder = inside(root, place, self.path)?;
            let Some(class) = Class::of(class_path) else {
                return refuse(format!(
                    "module type {class_path} is not served; Transformer, Pooling, Dense, Normalize, LayerNorm, WordWeights, SpladePooling, \
                     StaticEmbedding, SparseStaticEmbedding, Router, MultiVectorMask and LogitScore of sentence-transformers are"
                ));
            };
            let name = format!(
                "{}{}",
                class_path.rsplit('.').next().unwrap_or(class_path),
                if place.is_empty() { String::new() } else { format!(" ({place})") }
            );
            let input = match class {
                Class::Transformer => Some(RouteInput::Encoder { folder: folder.clone(), masked_lm: false }),
                Class::MlmTransformer => Some(RouteInput::Encoder { folder: folder.clone(), masked_lm: true }),
                Class::StaticEmbedding => Some(RouteInput::Static(folder.clone())),
                Class::SparseStaticEmbedding => Some(RouteInput::SparseStatic(folder.clone())),
                _ => None,
            };
            let Some(route) = &mut route else {
                let Some(input) = input else {
                    return refuse(format!("the first module is {class_path}, which takes no text"));
                };
                route = Some(Route {
                    sparse: matches!(input, RouteInput::SparseStatic(_)).then(SparseRule::default),
                    input,
                    chain: Chain::default(),
                    scores: false,
                    logit_score: None,
                    masks: false,
                    skiplist: Vec::new(),
                    modules: vec![name],
                    folders: vec![folder],
                });
                continue;
            };
            if input.is_some() {
                return refuse(format!("{class_path} comes after another module, where no text is"));
            }
            let has_scores = route.scores || route.logit_score.is_some();
            if has_scores || (route.sparse.is_some() && class != Class::Dropout) {
                return refuse(format!(
                    "{class_path} comes after the scores or the sparse weights, and is not served there"
                ));
            }
            route.modules.push(name);
            route.folders.push(folder.clone());
            self.step(route, class, &folder, late)?;
        }
        route.ok_or_else(|| LoadError::invalid(self.path, "it lists no module"))
    }

    /// One module after the first.
    fn step(&self, route: &mut Route, class: Class, folder: &Path, late: bool) -> Result<(), LoadError> {
        let refuse = |why: &str| Err(LoadError::unsupported(self.path, format!("{}: {why}", folder.display())));
        let pooled = route.chain.pools() || matches!(route.input, RouteInput::Static(_));
        match class {
            Class::Dropout => {}
            Class::Pooling if pooled => return refuse("a second Pooling is not served"),
            Class::Pooling => route.chain.steps.push(Step::Pool(layers::pooling(folder)?)),
            Class::Dense | Class::PylateDense => {
                let pylate = class == Class::PylateDense || self.library.pylate.is_some();
                let (dense, output) = layers::dense(folder, late || pylate, class == Class::PylateDense)?;
                route.chain.steps.push(match output {
                    DenseOutput::Tokens if pooled => return refuse("a Dense on tokens after Pooling is not served"),
                    DenseOutput::Tokens => Step::TokenDense(dense),
                    DenseOutput::Vector | DenseOutput::Scores if !pooled => {
                        return refuse("a Dense on the vector before Pooling is not served");
                    }
                    DenseOutput::Vector => Step::Dense(dense),
                    DenseOutput::Scores => {
                        route.scores = true;
                        Step::Dense(dense)
                    }
                });
            }
            Class::LayerNorm if !pooled => return refuse("a LayerNorm before Pooling is not served"),
            Class::LayerNorm => route.chain.steps.push(Step::LayerNorm(layers::layer_norm(folder)?)),
            Class::Normalize => match layers::normalize(folder)? {
                Step::NormalizeTokens if pooled => return refuse("a Normalize of tokens after Pooling is not served"),
                // The library passes over a vector that is not there yet.
                Step::Normalize if !pooled => {}
                step => route.chain.steps.push(step),
            },
            Class::WordWeights if pooled => return refuse("WordWeights after Pooling are not served"),
            Class::WordWeights => route.chain.steps.push(layers::word_weights(folder)?),
            Class::SpladePooling => {
                let (transform, sum) = layers::splade(folder)?;
                route.sparse = Some(SparseRule { transform, sum, most: None });
            }
            Class::LogitScore
                if !route.chain.steps.is_empty() || !matches!(route.input, RouteInput::Encoder { .. }) =>
            {
                return refuse("LogitScore reads the logits of the Transformer, and so must come right behind it");
            }
            Class::LogitScore => route.logit_score = Some(LogitScore::read(folder)?),
            Class::MultiVectorMask => {
                let Some(mut keys) = FileKeys::read(&folder.join("config.json"))? else {
                    return refuse("its config.json is missing");
                };
                let words = keys.take::<Vec<String>>("skiplist_words")?.unwrap_or_default();
                let tasks = match keys.take::<serde_json::Value>("skiplist_tasks")? {
                    None => vec![Role::Document],
                    Some(value) => {
                        roles(&value).ok_or_else(|| keys.refused("skiplist_tasks", &value, "query and document are"))?
                    }
                };
                let mut kept = keys.take::<Vec<u32>>("keep_only_token_ids")?.unwrap_or_default();
                kept.sort_unstable();
                keys.none_left()?;
                route.masks = true;
                route.skiplist = words;
                let mask = crate::post::TokenMask { skipped: Vec::new(), roles: tasks, kept };
                route.chain.steps.push(Step::Mask(mask));
            }
            Class::HierarchicalTokenPooling => {
                let Some(mut keys) = FileKeys::read(&folder.join("config.json"))? else {
                    return refuse("its config.json is missing");
                };
                let factor = keys.take::<f64>("pool_factor")?.unwrap_or(1.0);
                if factor > 1.0 {
                    return Err(keys.refused(
                        "pool_factor",
                        &json!(factor),
                        "HierarchicalTokenPooling that merges tokens is not done here",
                    ));
                }
                if keys.take::<bool>("normalize_embeddings")?.unwrap_or(false) {
                    return Err(keys.refused("normalize_embeddings", &json!(true), "use a Normalize module"));
                }
                keys.take::<usize>("num_protected_tokens")?;
                keys.take::<serde_json::Value>("tasks")?;
                keys.none_left()?;
            }
            Class::Transformer
            | Class::MlmTransformer
            | Class::StaticEmbedding
            | Class::SparseStaticEmbedding
            | Class::Router => return refuse("it takes text, and so must come first"),
        }
        Ok(())
    }
}

fn roles(value: &serde_json::Value) -> Option<Vec<Role>> {
    let names = match value {
        serde_json::Value::Array(names) => names.clone(),
        one => vec![one.clone()],
    };
    let role = |name: &serde_json::Value| Role::ALL.into_iter().find(|r| Some(r.name()) == name.as_str());
    names.iter().map(role).collect()
}

/// A folder of a module below `root`.
fn inside(root: &Path, place: &str, list: &Path) -> Result<PathBuf, LoadError> {
    let normal = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
    if place.contains('\\') || !Path::new(place).components().all(normal) {
        return Err(LoadError::invalid(list, format!("module path {place:?} leaves the folder")));
    }
    Ok(if place.is_empty() { root.to_owned() } else { root.join(place) })
}

fn joined(base: &str, id: &str) -> String {
    match (base.is_empty(), id.is_empty()) {
        (true, _) => id.to_owned(),
        (_, true) => base.to_owned(),
        _ => format!("{base}/{id}"),
    }
}
