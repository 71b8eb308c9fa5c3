//! A folder read as a whole: which layout it has, and what follows from its files together.

use std::path::{Path, PathBuf};

pub(crate) use super::late::LateInteraction;
pub(crate) use super::modules::{Route, RouteInput, Routes};
use super::{
    adapter::Adapter,
    causal::ChatTemplate,
    config::Config,
    gliner::{ScoredParts, TaggerFolder},
    keys::{Note, Notes},
    late::{late_interaction, similarity_fits},
    layers,
    library::{self, Library, ScoreActivation},
    modules,
    tokenizer_config::{ClassHints, TokenizerRules},
    transformer::{GENERATION, TransformerRules},
    weights::Weights,
};
use crate::{
    error::LoadError,
    options::LoadOptions,
    post::{Chain, Pool, Step},
    task::{Pooling, Task},
};

/// `model_type` of a model2vec folder.
const MODEL2VEC: &str = "model2vec";

/// What a folder's files say.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    /// The folder.
    pub(crate) root: PathBuf,
    /// Where the encoder's config.json and weights lie.
    pub(crate) encoder: PathBuf,
    /// Where its tokenizer lies: there too, but for an adapter that brings its own.
    pub(crate) tokenizer_home: PathBuf,
    /// What is added to the encoder's weights.
    pub(crate) adapter: Option<Adapter>,
    pub(crate) config: Config,
    pub(crate) routes: Routes,
    /// What it was made for; `None` where only an export's outputs can tell.
    pub(crate) task: Option<Task>,
    /// Longest sequence that the files intend, before positions are looked at.
    pub(crate) max_length: Option<usize>,
    /// What says so.
    pub(crate) length_source: &'static str,
    pub(crate) tokenizer: TokenizerRules,
    /// All prompts, by name.
    pub(crate) prompts: Vec<(String, String)>,
    pub(crate) default_prompt: Option<String>,
    /// Name of the library's class that the folder is loaded by, where it says.
    pub(crate) library_class: Option<String>,
    pub(crate) similarity: Option<String>,
    pub(crate) late: Option<LateInteraction>,
    /// What a pair is put into, where the model reads pairs as a chat.
    pub(crate) chat: Option<ChatTemplate>,
    /// Set where its scores have an activation of their own.
    pub(crate) activation: Option<ScoreActivation>,
    /// Set where labels come with each request.
    pub(crate) tagger: Option<TaggerFolder>,
    /// A table whose texts are read by model2vec's rules.
    pub(crate) model2vec: bool,
    pub(crate) notes: Vec<Note>,
}

impl Folder {
    /// Reads the folder at `root`.
    pub(crate) fn read(root: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        let mut notes = Notes::new(root);
        if let Some(tagger) = TaggerFolder::read(root, &mut notes)? {
            return Self::of_tagger(root, tagger, options, notes);
        }
        let mut library = Library::read(root, &mut notes)?;
        let listed = modules::read(root, &mut library, &mut notes)?;
        let is_listed = listed.is_some();
        let home = match &listed {
            Some(routes) => encoder_folder(root, routes)?,
            None => root.to_owned(),
        };
        let adapter = Adapter::read(&home, &mut notes)?;
        let encoder = adapter.as_ref().map_or_else(|| home.clone(), |adapter| adapter.base.clone());
        let tokenizer_home = if home.join("tokenizer.json").is_file() { home.clone() } else { encoder.clone() };
        let config = if encoder.join("config.json").is_file() { Config::read(&encoder)? } else { Config::default() };
        let mut routes = match listed {
            Some(routes) => routes,
            None => Routes::single(unlisted(root, &config)?),
        };
        let rules = TransformerRules::read(&home, &mut notes)?;
        let mut tokenizer = if routes.encoder().is_some() {
            let hints = ClassHints {
                model_type: &config.model_type,
                class: config.tokenizer_class.as_deref(),
                exported: !Weights::are_in(&encoder),
            };
            TokenizerRules::read(&tokenizer_home, hints, &mut notes)?
        } else {
            routes.main().input.tokenizer_rules(&mut notes)?
        };
        tokenizer.lowercase = rules.lowercase;
        if let Some(side) = &rules.truncation_side {
            (tokenizer.cut_left, tokenizer.side_is_said) = (side == "left", true);
        }
        for route in routes.all_mut() {
            if let RouteInput::Encoder { masked_lm, .. } = &mut route.input {
                *masked_lm |= rules.task.as_deref() == Some("fill-mask");
            }
        }
        if let Some(pooling) = options.pooling {
            pool_by(root, &mut routes, pooling)?;
        }
        let late = late_interaction(root, &config, &library, &rules, &mut routes, &mut notes)?;
        similarity_fits(root, &library, late.is_some())?;
        if let Some(route) = routes.all().iter().find(|route| route.pools_logits()) {
            return Err(LoadError::unsupported(
                &root.join("modules.json"),
                format!(
                    "{}: a Pooling over the logits of a masked-LM head, a vector as long as the vocabulary, is not served; \
                     transformer_task feature-extraction pools token states",
                    route.modules.join(", ")
                ),
            ));
        }
        let chat = chat_template(root, &tokenizer_home, &config, &rules, &tokenizer, &routes)?;
        let task = task(root, &encoder, &config, &library, &rules, &mut routes, late.is_some(), is_listed, options)?;
        if let Some(keep) = library.truncate_dim {
            if keep == 0 || late.is_some() {
                return Err(LoadError::unsupported(
                    &root.join("config_sentence_transformers.json"),
                    format!("truncate_dim {keep} is not served: one vector a text is cut, and to a number above 0"),
                ));
            }
            routes.all_mut().iter_mut().for_each(|route| route.chain.steps.push(Step::Cut(keep)));
        }
        if let Some(most) = library.max_active_dims {
            routes
                .all_mut()
                .iter_mut()
                .filter_map(|route| route.sparse.as_mut())
                .for_each(|rule| rule.most = Some(most));
        }
        let activation = match &task {
            Some(Task::SequenceClassification { labels, .. }) => {
                Some(library::score_activation(&library, &config, labels.len()))
            }
            _ => None,
        };
        Ok(Self {
            root: root.to_owned(),
            encoder,
            tokenizer_home,
            adapter,
            model2vec: !is_listed && config.model_type == MODEL2VEC,
            task,
            // What the library sets replaces the tokenizer's own length, whichever is longer.
            max_length: rules.max_length.or(tokenizer.max_length),
            length_source: match rules.max_length {
                Some(_) => "max_seq_length of the Transformer module",
                None => "model_max_length of tokenizer_config.json",
            },
            tokenizer,
            prompts: library.prompts,
            default_prompt: library.default_prompt,
            library_class: library.model_type,
            similarity: library.similarity,
            late,
            chat,
            activation,
            config,
            routes,
            tagger: None,
            notes: notes.into_vec(),
        })
    }

    /// A folder whose labels come with each request.
    fn of_tagger(
        root: &Path,
        tagger: TaggerFolder,
        options: &LoadOptions,
        mut notes: Notes,
    ) -> Result<Self, LoadError> {
        if options.pooling.is_some() || options.prefer_onnx || options.onnx_file.is_some() {
            return Err(LoadError::unsupported(
                tagger.path(),
                "a tagger whose labels come with each request is served from safetensors, without a pooling",
            ));
        }
        let config = tagger.config()?;
        let hints = ClassHints { model_type: &config.model_type, class: None, exported: false };
        let tokenizer = TokenizerRules::read(root, hints, &mut notes)?;
        let width = match tagger.scored {
            ScoredParts::Spans { width } => Some(width),
            ScoredParts::Words => None,
        };
        Ok(Self {
            root: root.to_owned(),
            encoder: root.to_owned(),
            tokenizer_home: root.to_owned(),
            adapter: None,
            routes: Routes::single(unlisted(root, &config)?),
            task: Some(Task::ZeroShotTagging { most_words: tagger.most_words, width }),
            max_length: tokenizer.max_length,
            length_source: "model_max_length of tokenizer_config.json",
            tokenizer,
            prompts: Vec::new(),
            default_prompt: None,
            library_class: None,
            similarity: None,
            late: None,
            chat: None,
            activation: None,
            config,
            tagger: Some(tagger),
            model2vec: false,
            notes: notes.into_vec(),
        })
    }
}

impl Folder {
    /// The text of the prompt that texts of no role get.
    pub(crate) fn default_prompt(&self) -> Option<&str> {
        let name = self.default_prompt.as_deref()?;
        self.prompts.iter().find(|(n, _)| n == name).map(|(_, text)| text.as_str())
    }
}

/// Puts the pooling that is asked for in the place of the folder's.
fn pool_by(root: &Path, routes: &mut Routes, pooling: Pooling) -> Result<(), LoadError> {
    let refuse =
        |why: &str| Err(LoadError::unsupported(&root.join("modules.json"), format!("pooling is asked for, but {why}")));
    for route in routes.all_mut() {
        if !matches!(route.input, RouteInput::Encoder { .. }) {
            return refuse("there are no token states to pool");
        }
        if route.sparse.is_some() || route.masks || route.scores || route.logit_score.is_some() {
            return refuse("the model does not end in one vector a text");
        }
        match route.chain.steps.iter_mut().find(|step| matches!(step, Step::Pool(_))) {
            Some(Step::Pool(pool)) => pool.modes = vec![pooling],
            _ => route.chain.steps.push(Step::Pool(Pool { modes: vec![pooling], include_prompt: true })),
        }
    }
    Ok(())
}

/// The one folder that encoders of all routes lie in.
fn encoder_folder(root: &Path, routes: &Routes) -> Result<PathBuf, LoadError> {
    let mut found: Option<&PathBuf> = None;
    for route in routes.all() {
        if let RouteInput::Encoder { folder, .. } = &route.input {
            match found {
                Some(other) if other != folder => {
                    return Err(LoadError::unsupported(
                        &root.join("router_config.json"),
                        format!(
                            "two encoders, in {} and {}, are not served; put each in a folder of its own",
                            other.display(),
                            folder.display()
                        ),
                    ));
                }
                _ => found = Some(folder),
            }
        }
    }
    Ok(found.cloned().unwrap_or_else(|| root.to_owned()))
}

/// The route of a folder without modules.json.
fn unlisted(root: &Path, config: &Config) -> Result<Route, LoadError> {
    let mut steps = Vec::new();
    let input = if config.model_type == MODEL2VEC {
        if config.model2vec(root)?.0 {
            steps.push(Step::Normalize);
        }
        RouteInput::Static(root.to_owned())
    } else {
        let pooling = root.join("1_Pooling");
        let pool = if pooling.join("config.json").is_file() { layers::pooling(&pooling)? } else { Pool::default() };
        steps.push(Step::Pool(pool));
        RouteInput::Encoder { folder: root.to_owned(), masked_lm: false }
    };
    Ok(Route {
        input,
        chain: Chain { steps, attend_expansion: false },
        sparse: None,
        scores: false,
        logit_score: None,
        masks: false,
        skiplist: Vec::new(),
        modules: Vec::new(),
        folders: Vec::new(),
    })
}

/// The chat template of a model whose scores are logits of a causal language model.
fn chat_template(
    root: &Path,
    home: &Path,
    config: &Config,
    rules: &TransformerRules,
    tokenizer: &TokenizerRules,
    routes: &Routes,
) -> Result<Option<ChatTemplate>, LoadError> {
    let refuse = |file: &str, why: String| Err(LoadError::unsupported(&root.join(file), why));
    let generates = rules.task.as_deref() == Some(GENERATION);
    let scores = routes.all().iter().any(|route| route.logit_score.is_some());
    if !scores {
        if generates {
            return refuse(
                "modules.json",
                format!(
                    "transformer_task {GENERATION} is served with a LogitScore module, which makes a score of its logits"
                ),
            );
        }
        return Ok(None);
    }
    if routes.all().len() > 1 {
        return refuse("modules.json", "LogitScore behind a Router is not served".to_owned());
    }
    if !generates || !config.architecture().ends_with("ForCausalLM") {
        return refuse(
            "modules.json",
            format!(
                "LogitScore reads the logits of a causal language model: transformer_task {GENERATION} and an architecture \
                 …ForCausalLM are wanted, {} and {:?} are there",
                rules.task.as_deref().unwrap_or("none"),
                config.architecture()
            ),
        );
    }
    if tokenizer.cut_left {
        return refuse(
            "tokenizer_config.json",
            "truncation_side left would cut the beginning of the chat template, which is never cut".to_owned(),
        );
    }
    let Some(format) = &rules.message else {
        return refuse(
            "sentence_bert_config.json",
            "modality_config has no message: pairs would go into the model without its chat template".to_owned(),
        );
    };
    ChatTemplate::read(home, format, &config.model_type, rules.chat.clone(), tokenizer).map(Some)
}

/// What the folder was made for. modules.json outranks the architecture: a masked-LM checkpoint with a Pooling module is an
/// embedding model.
#[expect(clippy::too_many_arguments, reason = "each is a file of the folder")]
fn task(
    root: &Path,
    encoder: &Path,
    config: &Config,
    library: &Library,
    rules: &TransformerRules,
    routes: &mut Routes,
    is_late: bool,
    is_listed: bool,
    options: &LoadOptions,
) -> Result<Option<Task>, LoadError> {
    if is_late {
        return Ok(Some(Task::LateInteraction));
    }
    let said = config.task(encoder)?;
    let route = routes.main();
    if route.sparse.is_some() {
        if routes.all().iter().any(|other| other.sparse.is_none()) {
            return Err(LoadError::unsupported(
                &root.join("router_config.json"),
                "sparse and dense routes together are not served",
            ));
        }
        return Ok(Some(Task::SparseEmbedding));
    }
    if route.logit_score.is_some() {
        let labels = config.labels(encoder).ok().filter(|labels| labels.len() == 1);
        let labels = labels.unwrap_or_else(|| vec!["LABEL_0".to_owned()]);
        return Ok(Some(Task::SequenceClassification { labels, problem: config.problem(encoder)? }));
    }
    if route.scores {
        let outputs = route.chain.steps.iter().rev().find_map(|step| match step {
            Step::Dense(dense) => Some(dense.outputs),
            _ => None,
        });
        let n = outputs.unwrap_or(1);
        let labels = config.labels(encoder).ok().filter(|labels| labels.len() == n);
        let labels = labels.unwrap_or_else(|| (0..n).map(|i| format!("LABEL_{i}")).collect());
        return Ok(Some(Task::SequenceClassification { labels, problem: config.problem(encoder)? }));
    }
    if options.pooling.is_some() {
        return Ok(Some(Task::Embedding));
    }
    if matches!(route.input, RouteInput::Static(_)) {
        return Ok(Some(Task::Embedding));
    }
    let classifies = matches!(said, Some(Task::SequenceClassification { .. } | Task::TokenClassification { .. }));
    let pools = route.chain.pools();
    Ok(match said {
        _ if rules.task.as_deref() == Some("sequence-classification")
            || library.model_type.as_deref() == Some("CrossEncoder") =>
        {
            match said {
                Some(Task::SequenceClassification { .. }) => said,
                _ => {
                    return Err(LoadError::unsupported(
                        &encoder.join("config.json"),
                        format!(
                            "architecture {:?} gives no scores, which a cross-encoder needs",
                            config.architecture()
                        ),
                    ));
                }
            }
        }
        said if classifies && !(is_listed && pools) => said,
        Some(Task::SparseEmbedding) if is_listed && !pools => said,
        said if is_listed && pools => said.map(|_| Task::Embedding).or(Some(Task::Embedding)),
        _ if is_listed => {
            return Err(LoadError::unsupported(
                &root.join("modules.json"),
                "its modules make neither one vector a text, nor sparse weights, nor scores: a Pooling is missing",
            ));
        }
        said => said,
    })
}
