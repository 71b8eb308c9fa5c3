//! What would be served from a folder, and why: its description as one value for people and programs. No session is made
//! and no weight of an encoder is read.

mod sources;
mod steps;

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

pub use self::sources::{DefaultActivation, SimilarityInspection};
use crate::{
    error::LoadError,
    folder::{Note, Route, RouteInput, ScoreActivation, TokenizerFamily},
    open::{self, Opened, STATIC_LONGEST},
    options::LoadOptions,
    task::{Role, Task},
    tokenize::{TokenizerPath, TruncationSide},
};

/// What a text may be, in the order of the inspection.
const ROLES: [Option<Role>; 3] = [None, Some(Role::Query), Some(Role::Document)];

/// A folder as it would be served.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// `native`, `onnx` or `static`.
    pub engine: &'static str,
    /// What it was made for.
    pub task: &'static str,
    /// RPCs that it answers.
    pub rpcs: Vec<&'static str>,
    /// `model_type` of its configuration.
    pub model_type: String,
    /// First of its `architectures`.
    pub architecture: String,
    /// The class of sentence-transformers or PyLate that the folder names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library_class: Option<String>,
    /// The ways a text goes through the model.
    pub routes: Vec<RouteInspection>,
    /// Whether queries and documents are read apart; else a role changes nothing but the prompt.
    pub reads_roles: bool,
    /// Numbers in a vector, for a sparse one the entries of the vocabulary; `None` where it makes none.
    pub dimensions: Option<usize>,
    /// Longest sequence in tokens, special tokens included; `None` where only the server has a limit.
    pub max_length: Option<usize>,
    /// What says so.
    pub max_length_source: String,
    /// Longest query and document, where they have lengths of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_length: Option<usize>,
    /// See [`query_length`](Self::query_length).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_length: Option<usize>,
    /// Which end of a long text stays.
    pub truncation_side: TruncationSide,
    /// Prompts by name.
    pub prompts: BTreeMap<String, String>,
    /// The prompt that goes before a text of no role, a query and a document where a caller names none.
    pub prompt_by_role: BTreeMap<&'static str, String>,
    /// Labels in the order of the logits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// What several logits mean, as `problem_type` of config.json has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem_type: Option<&'static str>,
    /// What is done to scores where a request names no activation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default_activation: Vec<DefaultActivation>,
    /// What is done where a request asks for the model's own activation (`ACTIVATION_MODEL`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_activation: Option<ScoreActivation>,
    /// How its vectors are meant to be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<SimilarityInspection>,
    /// Late interaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_interaction: Option<LateInspection>,
    /// Who reads the texts.
    pub tokenizer: TokenizerInspection,
    /// Keys and files that are not obeyed, and why that is right.
    pub ignored: Vec<Note>,
    /// Digest of the files it is served from.
    pub revision: String,
}

/// One way through a model.
#[derive(Clone, Debug, Serialize)]
pub struct RouteInspection {
    /// Roles that take it: `none`, `query`, `document`.
    pub roles: Vec<&'static str>,
    /// How a text comes in: `encoder`, `static` or `sparse static`.
    pub input: &'static str,
    /// Its modules in order, with their folders; empty where the folder lists none.
    pub modules: Vec<String>,
    /// What is done to the numbers, in order.
    pub steps: Vec<String>,
    /// The tokenizer's file, relative to the folder.
    pub tokenizer: String,
    /// Longest sequence of its texts, special tokens included; `None` where only the server has a limit.
    pub max_length: Option<usize>,
}

/// How texts of a late-interaction model are read.
#[derive(Clone, Debug, Serialize)]
pub struct LateInspection {
    /// Token after the first of a query, and of a document or a text of no role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub markers: Option<[String; 2]>,
    /// What queries are filled up to; `None` where they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_expansion: Option<String>,
}

/// The tokenizer of record.
#[derive(Clone, Debug, Serialize)]
pub struct TokenizerInspection {
    /// Its file, relative to the folder.
    pub file: String,
    /// Its class in transformers; `None` where the file is read as it is and none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Entries of its vocabulary.
    pub vocabulary: usize,
    /// What other files change in it.
    pub changes: Vec<&'static str>,
    /// Whose code reads texts: `the server's own`, or the reference's and why.
    pub path: String,
}

/// Describes the folder at `root` as [`Model::open`](crate::Model::open) would serve it.
///
/// # Errors
/// As [`Model::open`](crate::Model::open): what is refused is named with its file, key and value.
pub fn inspect(root: &Path, options: &LoadOptions) -> Result<Inspection, LoadError> {
    let opened = open::read(root, options)?;
    let info = opened.info(options)?;
    let folder = &opened.folder;
    let routes = opened.routes.all().iter().enumerate().map(|(place, route)| of_route(&opened, root, place, route));
    let routes = routes.collect();
    let late = folder.late.as_ref();
    let prompt_by_role =
        ROLES.into_iter().filter_map(|r| Some((r.map_or("none", Role::name), info.prompt_of(r)?.to_owned()))).collect();
    let rules = &folder.tokenizer;
    let mut changes = Vec::new();
    if rules.lowercase {
        changes.push("texts are lower-cased first (do_lower_case)");
    }
    if rules.family != TokenizerFamily::File {
        changes.push("its class builds every step anew around the vocabulary of the file, as transformers 5 does");
    }
    let mut ignored = folder.notes.clone();
    let similarity = sources::similarity(&opened);
    if let (Some(named), None) = (&folder.similarity, &similarity) {
        ignored.push(Note {
            file: "config_sentence_transformers.json".to_owned(),
            key: "similarity_fn_name".to_owned(),
            value: format!("{named:?}"),
            why: "the model makes no vectors that it could compare",
        });
    }
    let (max_length, max_length_source) = sources::longest(&opened, options);
    let of_role = |role| late.map(|_| opened.tokenizer.max_length_of(Some(role)));
    Ok(Inspection {
        engine: info.engine,
        task: task_name(&info.task),
        rpcs: info.rpcs(),
        model_type: info.model_type.clone(),
        architecture: info.architecture.clone(),
        library_class: folder.library_class.clone(),
        routes,
        reads_roles: info.reads_roles,
        dimensions: match &info.task {
            Task::SparseEmbedding => Some(info.vocab_size),
            _ => Some(info.dimensions).filter(|&n| n > 0),
        },
        max_length,
        max_length_source,
        query_length: of_role(Role::Query),
        document_length: of_role(Role::Document),
        truncation_side: opened.tokenizer.truncation_side(),
        prompts: info.prompts.iter().cloned().collect(),
        prompt_by_role,
        labels: match info.task.labels() {
            // What transformers calls the one label of a reranker that nobody named.
            [one] if one == "LABEL_0" => Vec::new(),
            labels => labels.to_vec(),
        },
        problem_type: match &info.task {
            Task::SequenceClassification { labels, problem } if labels.len() > 1 => Some(problem.name()),
            _ => None,
        },
        default_activation: sources::activations(&info.task, &info.rpcs()),
        model_activation: info.activation.clone(),
        similarity,
        late_interaction: late.map(|late| LateInspection {
            markers: late.markers.clone(),
            query_expansion: late.expansion.as_ref().map(|e| {
                let (how, seen) = (if e.fixed { "exactly" } else { "at least" }, if e.attend { "" } else { "not " });
                let filler = opened.tokenizer.filler().unwrap_or_default();
                format!("{how} {} tokens, filled up with {filler}, {seen}attended to", e.length)
            }),
        }),
        tokenizer: TokenizerInspection {
            file: tokenizer_file(&opened, root, opened.routes.encoder().unwrap_or_else(|| opened.routes.main())),
            class: rules.class.clone().or_else(|| {
                let class = rules.family.class()?;
                Some(format!("{class}, the one of model_type {}", folder.config.model_type))
            }),
            vocabulary: opened.tokenizer.vocab_size(),
            changes,
            path: match opened.tokenizer.path() {
                TokenizerPath::Fast => "the server's own".to_owned(),
                TokenizerPath::Reference { why } => format!("reference: {why}"),
            },
        },
        ignored,
        revision: info.revision,
    })
}

/// One way through the model.
fn of_route(opened: &Opened, root: &Path, place: usize, route: &Route) -> RouteInspection {
    let roles: Vec<Option<Role>> = ROLES.into_iter().filter(|role| opened.routes.place(*role) == Some(place)).collect();
    let longest = roles.iter().map(|role| opened.tokenizer.max_length_of(*role)).max();
    let is_encoder = matches!(route.input, RouteInput::Encoder { .. });
    RouteInspection {
        roles: roles.iter().map(|role| role.map_or("none", Role::name)).collect(),
        input: match &route.input {
            RouteInput::Encoder { .. } => "encoder",
            RouteInput::Static(_) => "static",
            RouteInput::SparseStatic(_) => "sparse static",
        },
        modules: route.modules.clone(),
        steps: steps::of(opened, route),
        tokenizer: tokenizer_file(opened, root, route),
        max_length: longest.filter(|&longest| is_encoder || longest < STATIC_LONGEST),
    }
}

/// The file of the tokenizer that reads a route's texts.
fn tokenizer_file(opened: &Opened, root: &Path, route: &Route) -> String {
    let home = match &route.input {
        RouteInput::Static(home) | RouteInput::SparseStatic(home) => home,
        RouteInput::Encoder { .. } => &opened.folder.tokenizer_home,
    };
    let file = home.join(if home.join("tokenizer.json").exists() { "tokenizer.json" } else { "vocab.txt" });
    file.strip_prefix(root).unwrap_or(&file).display().to_string()
}

fn task_name(task: &Task) -> &'static str {
    match task {
        Task::SequenceClassification { labels, .. } if labels.len() == 1 => "rerank",
        Task::SequenceClassification { .. } => "classify",
        Task::TokenClassification { .. } => "tag",
        Task::Embedding => "embed",
        Task::SparseEmbedding => "embed sparse",
        Task::LateInteraction => "late interaction",
        Task::ZeroShotTagging { .. } => "tag by labels of the request",
    }
}
