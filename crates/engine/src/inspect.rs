//! What would be served from a folder, and why: its description as one value for people and programs. No session is made
//! and no weight of an encoder is read.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

use crate::{
    error::LoadError,
    folder::{Note, RouteInput, ScoreActivation, TokenizerFamily},
    open,
    options::LoadOptions,
    post::{LateSimilarity, SparseTransform, Step},
    task::{Pooling, Problem, Role, Task},
    tokenize::{TokenizerPath, TruncationSide},
};

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
    /// Numbers in a vector; 0 where it makes none.
    pub dimensions: usize,
    /// Longest sequence in tokens, special tokens included.
    pub max_length: usize,
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
    /// What the logits mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// The folder's own activation of scores; RPCs have defaults of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<ScoreActivation>,
    /// The similarity that the folder names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<String>,
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
}

/// How texts of a late-interaction model are read and compared.
#[derive(Clone, Debug, Serialize)]
pub struct LateInspection {
    /// Token after the first of a query and of a document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub markers: Option<[String; 2]>,
    /// What queries are filled up to; `None` where they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_expansion: Option<String>,
    /// How the vectors are compared.
    pub similarity: LateSimilarity,
}

/// The tokenizer of record.
#[derive(Clone, Debug, Serialize)]
pub struct TokenizerInspection {
    /// Its file, relative to the folder.
    pub file: String,
    /// The class that tokenizer_config.json names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Entries of its vocabulary.
    pub vocabulary: usize,
    /// What other files change in it.
    pub changes: Vec<&'static str>,
    /// `fast`, or why the reference does all texts.
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
    let routes = opened.routes.all().iter().enumerate().map(|(place, route)| {
        let roles = [None, Some(Role::Query), Some(Role::Document)];
        let takes = |role: &Option<Role>| opened.routes.place(*role) == Some(place);
        let mut steps: Vec<String> = route.chain.steps.iter().map(describe).collect();
        if let Some(rule) = route.sparse.filter(|_| matches!(route.input, RouteInput::Encoder { .. })) {
            let by = if rule.sum { "sum" } else { "max" };
            let transform = match rule.transform {
                SparseTransform::Log => "ln(1 + relu(x))",
                SparseTransform::LogLog => "ln(1 + ln(1 + relu(x)))",
            };
            steps.push(format!("{by} over the tokens of {transform}"));
        }
        if let Some(most) = route.sparse.and_then(|rule| rule.most) {
            steps.push(format!("the {most} largest weights"));
        }
        RouteInspection {
            roles: roles.iter().filter(|r| takes(r)).map(|r| r.map_or("none", Role::name)).collect(),
            input: match &route.input {
                RouteInput::Encoder { .. } => "encoder",
                RouteInput::Static(_) => "static",
                RouteInput::SparseStatic(_) => "sparse static",
            },
            modules: route.modules.clone(),
            steps,
        }
    });
    let routes = routes.collect();
    let late = folder.late.as_ref();
    let roles = [None, Some(Role::Query), Some(Role::Document)];
    let prompt_by_role =
        roles.into_iter().filter_map(|r| Some((r.map_or("none", Role::name), info.prompt_of(r)?.to_owned()))).collect();
    let rules = &folder.tokenizer;
    let mut changes = Vec::new();
    if rules.lowercase {
        changes.push("texts are lower-cased first (do_lower_case)");
    }
    if rules.family != TokenizerFamily::File {
        changes.push("its class builds every step anew around the vocabulary of the file, as transformers 5 does");
    }
    let home = match &opened.routes.main().input {
        RouteInput::Static(home) | RouteInput::SparseStatic(home) if opened.routes.encoder().is_none() => home,
        _ => &folder.tokenizer_home,
    };
    let file = home.join(if home.join("tokenizer.json").exists() { "tokenizer.json" } else { "vocab.txt" });
    Ok(Inspection {
        engine: info.engine,
        task: task_name(&info.task),
        rpcs: info.rpcs(),
        model_type: info.model_type.clone(),
        architecture: info.architecture.clone(),
        library_class: folder.library_class.clone(),
        routes,
        dimensions: info.dimensions,
        max_length: info.max_length,
        query_length: late.and_then(|l| l.lengths[0]),
        document_length: late.and_then(|l| l.lengths[1]),
        truncation_side: opened.tokenizer.truncation_side(),
        prompts: info.prompts.iter().cloned().collect(),
        prompt_by_role,
        labels: info.task.labels().to_vec(),
        problem: match &info.task {
            Task::SequenceClassification { problem, .. } => Some(*problem),
            _ => None,
        },
        activation: info.activation.clone(),
        similarity: folder.similarity.clone(),
        late_interaction: late.map(|late| LateInspection {
            markers: late.markers.clone(),
            query_expansion: late.expansion.as_ref().map(|e| {
                let (how, seen) = (if e.fixed { "exactly" } else { "at least" }, if e.attend { "" } else { "not " });
                format!("{how} {} tokens, {seen}attended to", e.length)
            }),
            similarity: late.similarity,
        }),
        tokenizer: TokenizerInspection {
            file: file.strip_prefix(root).unwrap_or(&file).display().to_string(),
            class: rules.class.clone(),
            vocabulary: opened.tokenizer.vocab_size(),
            changes,
            path: match opened.tokenizer.path() {
                TokenizerPath::Fast => "fast".to_owned(),
                TokenizerPath::Reference { why } => format!("reference: {why}"),
            },
        },
        ignored: folder.notes.clone(),
        revision: info.revision,
    })
}

/// A step in words.
fn describe(step: &Step) -> String {
    let name = |pooling: &Pooling| match pooling {
        Pooling::Cls => "first token",
        Pooling::Mean => "mean",
        Pooling::Max => "max",
        Pooling::Last => "last token",
        Pooling::MeanSqrtLen => "sum over the root of the length",
        Pooling::WeightedMean => "mean weighted by place",
    };
    match step {
        Step::Pool(pool) => {
            let modes: Vec<&str> = pool.modes.iter().map(name).collect();
            let prompt = if pool.include_prompt { "" } else { ", a prompt left out" };
            format!("pool: {}{prompt}", modes.join(" and "))
        }
        Step::TokenDense(d) => format!("dense on each token: {} to {}, {:?}", d.inputs, d.outputs, d.activation),
        Step::Dense(d) => format!("dense: {} to {}, {:?}", d.inputs, d.outputs, d.activation),
        Step::LayerNorm(_) => "layer norm".to_owned(),
        Step::NormalizeTokens => "each token to length 1".to_owned(),
        Step::Normalize => "to length 1".to_owned(),
        Step::TokenWeights(_) => "each token times the weight of its word".to_owned(),
        Step::Mask(mask) => format!("{} ids have no vector in {:?} texts", mask.skipped.len(), mask.roles),
        Step::Cut(most) => format!("the first {most} dimensions"),
    }
}

fn task_name(task: &Task) -> &'static str {
    match task {
        Task::SequenceClassification { labels, .. } if labels.len() == 1 => "rerank",
        Task::SequenceClassification { .. } => "classify",
        Task::TokenClassification { .. } => "tag",
        Task::Embedding => "embed",
        Task::SparseEmbedding => "embed sparse",
        Task::LateInteraction => "late interaction",
    }
}
