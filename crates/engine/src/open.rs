//! Opens a described folder: which path serves it, how long its sequences are, which tokenizer reads its texts.

use std::{path::Path, sync::Arc};

use crate::{
    error::LoadError,
    folder::{
        Folder, Input, LateInteraction, Routes, TokenizerRules,
        keys::Notes,
        revision,
        weights::{self, Weights},
    },
    generic::{self, GenericModel},
    info::ModelInfo,
    item::EmbedSpec,
    lookup::Lookup,
    model::Source,
    native::{self, NativeModel},
    options::LoadOptions,
    post::Step,
    task::{Role, Task},
    tokenize::{Baked, Filler, Reading, StaticRules, Tokenizer, TokenizerSpec},
};

/// Longest text of a table, in tokens: the libraries have no limit, and a batch must have one. About four megabytes of
/// English.
const STATIC_LONGEST: usize = 1 << 20;

/// A folder with all that serves it.
pub(crate) struct Opened {
    pub(crate) folder: Folder,
    pub(crate) routes: Arc<Routes>,
    pub(crate) task: Task,
    pub(crate) source: Source,
    pub(crate) lookup: Option<Arc<Lookup>>,
    pub(crate) tokenizer: Tokenizer,
    /// Longest sequence in tokens.
    pub(crate) max_length: usize,
    vocab: usize,
    dimensions: usize,
}

impl Opened {
    /// Reads `folder`.
    pub(crate) fn read(root: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        if !root.is_dir() {
            return Err(LoadError::unsupported(root, "there is no such model folder"));
        }
        let mut folder = Folder::read(root, options)?;
        let routes = std::mem::replace(&mut folder.routes, Routes::empty());
        let mut routes = routes;
        let has_encoder = routes.encoder().is_some();
        if has_encoder {
            skip_list(&folder, &mut routes)?;
        }
        let routes = Arc::new(routes);
        let lookup = Lookup::open(&routes)?.map(Arc::new);
        if !has_encoder {
            return Self::of_tables(folder, routes, lookup, options);
        }
        let encoder = folder.encoder.clone();
        let has_weights = Weights::are_in(&encoder);
        let native = has_weights && native::serves(&folder.config);
        // An export beside weights that are served natively does not matter, whatever it is called.
        let wants_onnx = options.prefer_onnx || options.onnx_file.is_some();
        let merges = folder.adapter.is_some();
        if merges && !native {
            return Err(LoadError::unsupported(
                &encoder,
                "an adapter is merged only into safetensors that are served natively",
            ));
        }
        let onnx = if native && (!wants_onnx || merges) {
            None
        } else {
            generic::find(&encoder, options.onnx_file.as_deref())?
        };
        let (source, task, positions, vocab, dimensions, segments) =
            if has_weights && !(wants_onnx && onnx.is_some()) && (native || onnx.is_none()) {
                let task = folder.task.clone().ok_or_else(|| unknown_architecture(&folder))?;
                let m = NativeModel::open(&folder, Arc::clone(&routes), task.clone())?;
                let width = routes.encoder().map_or(Ok(m.hidden()), |route| route.chain.width(m.hidden()));
                let width = width.map_err(|why| LoadError::invalid(&root.join("modules.json"), why))?;
                let (positions, vocab, segments) = (m.longest(), m.vocab(), m.segments());
                (Source::Native(m), task, positions, vocab, width, segments)
            } else if let Some(path) = onnx {
                let m = GenericModel::open(&path, &folder, Arc::clone(&routes), folder.task.clone(), options)?;
                let (task, positions, vocab, dimensions) = (m.task().clone(), m.longest(), m.vocab(), m.dimensions());
                // Two is what exports of BERT's kin have; ids beyond would be refused by the graph.
                let segments = folder.config.type_vocab_size.unwrap_or(2);
                (Source::Generic(m), task, positions, vocab, dimensions, segments)
            } else {
                return Err(no_weights(&encoder));
            };
        if let (Some(tables), Task::Embedding | Task::LateInteraction) = (&lookup, &task) {
            tables.check_width(dimensions, root)?;
        }
        let intended = match &folder.late {
            Some(late) => Some(late_lengths(&folder, late, positions)?),
            None => folder.max_length,
        };
        let max_length = longest_input(&encoder, options, intended, positions)?;
        let spec = TokenizerSpec {
            max_length,
            model_vocab: vocab,
            rules: &folder.tokenizer,
            special_tokens: true,
            baked: Baked::Side,
        };
        let tokenizer = Tokenizer::load_with(&folder.tokenizer_home, &spec)?.with_type_vocab(segments);
        let tokenizer = with_readings(tokenizer, &folder, &routes, lookup.as_deref())?;
        Ok(Self { folder, routes, task, source, lookup, tokenizer, max_length, vocab, dimensions })
    }

    /// A folder without an encoder.
    fn of_tables(
        folder: Folder,
        routes: Arc<Routes>,
        lookup: Option<Arc<Lookup>>,
        options: &LoadOptions,
    ) -> Result<Self, LoadError> {
        let tables = lookup.as_deref().ok_or_else(|| no_weights(&folder.root))?;
        let main = routes.main();
        let vocab = routes.place(None).and_then(|at| tables.rows(at)).or_else(|| tables.rows(0)).unwrap_or(0);
        let home = match &main.input {
            Input::Static(home) | Input::SparseStatic(home) | Input::Encoder { folder: home, .. } => home.clone(),
        };
        let limit = if folder.model2vec { folder.config.model2vec(&home)?.1 } else { None };
        if let Some(asked) = options.max_length.filter(|n| !(1..=STATIC_LONGEST).contains(n)) {
            return Err(LoadError::invalid(&home, format!("max_length {asked} is outside 1..={STATIC_LONGEST}")));
        }
        let tokenizer = if folder.model2vec {
            let max_length = options.max_length.or(limit).unwrap_or(STATIC_LONGEST).min(STATIC_LONGEST);
            let spec = TokenizerSpec {
                max_length,
                model_vocab: vocab,
                rules: &folder.tokenizer,
                special_tokens: false,
                baked: Baked::Nothing,
            };
            let tokenizer = Tokenizer::load_with(&home, &spec)?;
            let rules = StaticRules {
                characters: options.max_length.or(limit).map(|n| n.saturating_mul(tokenizer.median_token_length())),
                unknown: tokenizer.word_rules().unknown,
            };
            tokenizer.with_static_rules(rules)
        } else {
            table_tokenizer(&main.input, &home, &folder.tokenizer, vocab, options.max_length)?
        };
        let max_length = tokenizer.max_length();
        let task = folder.task.clone().unwrap_or(Task::Embedding);
        let dimensions = match (&task, tables.dense()) {
            (Task::Embedding, Some(table)) => main
                .chain
                .width(table.width())
                .map_err(|why| LoadError::invalid(&folder.root.join("modules.json"), why))?,
            _ => 0,
        };
        if task == Task::Embedding {
            tables.check_width(dimensions, &folder.root)?;
        }
        let tokenizer = with_readings(tokenizer, &folder, &routes, lookup.as_deref())?;
        Ok(Self { folder, routes, task, source: Source::Lookup, lookup, tokenizer, max_length, vocab, dimensions })
    }

    /// Folders that it is served from beside its own.
    fn places(&self) -> Vec<std::path::PathBuf> {
        let routes = self.routes.all().iter().flat_map(|route| route.folders.iter().cloned());
        routes.chain([self.folder.encoder.clone(), self.folder.tokenizer_home.clone()]).collect()
    }

    /// What is known of the model.
    pub(crate) fn info(&self, options: &LoadOptions) -> Result<ModelInfo, LoadError> {
        let (folder, main) = (&self.folder, self.routes.main());
        let has_vectors = matches!(self.task, Task::Embedding | Task::LateInteraction);
        Ok(ModelInfo {
            model_type: folder.config.model_type.clone(),
            architecture: folder.config.architecture().to_owned(),
            dimensions: if has_vectors { self.dimensions } else { 0 },
            task: self.task.clone(),
            max_length: self.max_length,
            vocab_size: self.vocab,
            embed: EmbedSpec::default(),
            pooling: main.chain.own_pooling(),
            normalize: main.chain.ends_normalized(),
            activation: folder.activation.clone(),
            late_similarity: folder.late.as_ref().map(|late| late.similarity),
            prompts: folder.prompts.clone(),
            default_prompt: folder.default_prompt.clone(),
            layer_parameters: match &self.source {
                Source::Native(m) => Some(m.layer_parameters()),
                _ => None,
            },
            revision: revision::digest(&folder.root, &self.places())?,
            similarity: folder.similarity.clone(),
            role_lengths: folder.late.as_ref().map_or([None; 2], |late| late.lengths),
            reads_roles: self.routes.all().len() > 1 || folder.late.is_some(),
            gives_tokens: match &self.source {
                Source::Generic(m) => m.gives_tokens(),
                _ => true,
            },
            engine: match &self.source {
                Source::Native(_) => "native",
                Source::Generic(_) => "onnx",
                Source::Lookup => "static",
                #[cfg(feature = "timed")]
                Source::Timed(_) => "timed",
            },
            precision: match &self.source {
                Source::Native(_) => options.precision_on(options.device).name(),
                Source::Generic(_) => "onnx",
                Source::Lookup => "f32",
                #[cfg(feature = "timed")]
                Source::Timed(_) => "none",
            },
            device: match &self.source {
                Source::Lookup => "cpu".to_owned(),
                _ => options.device.to_string(),
            },
        })
    }
}

/// Ids of a skip list, as the model's own tokenizer has them. Words it has no token for are left out, as the library does.
fn skip_list(folder: &Folder, routes: &mut Routes) -> Result<(), LoadError> {
    if routes.all().iter().all(|route| route.skiplist.is_empty()) {
        return Ok(());
    }
    let spec = TokenizerSpec {
        max_length: usize::MAX,
        model_vocab: usize::MAX,
        rules: &folder.tokenizer,
        special_tokens: true,
        baked: Baked::Nothing,
    };
    let tokenizer = Tokenizer::load_with(&folder.tokenizer_home, &spec)?;
    for route in routes.all_mut() {
        let mut ids: Vec<u32> = route.skiplist.iter().filter_map(|word| tokenizer.token_id(word)).collect();
        ids.sort_unstable();
        for step in &mut route.chain.steps {
            if let Step::Mask(mask) = step {
                mask.skipped.clone_from(&ids);
            }
        }
    }
    Ok(())
}

/// The tokenizer of a table in `home` with `rows` ids, `asked` tokens long at most.
fn table_tokenizer(
    input: &Input,
    home: &Path,
    rules: &TokenizerRules,
    rows: usize,
    asked: Option<usize>,
) -> Result<Tokenizer, LoadError> {
    let (own, baked) = match input {
        // Nobody tells its tokenizer otherwise than its own file does.
        Input::Static(_) => (None, Baked::All),
        Input::SparseStatic(_) | Input::Encoder { .. } => (rules.max_length, Baked::Side),
    };
    let max_length = asked.or(own).unwrap_or(STATIC_LONGEST).min(STATIC_LONGEST);
    let spec = TokenizerSpec { max_length, model_vocab: rows, rules, special_tokens: false, baked };
    Tokenizer::load_with(home, &spec)
}

/// The longest text of a late-interaction model: its lengths by role stand in the place of the folder's one, and must go
/// into its positions.
fn late_lengths(folder: &Folder, late: &LateInteraction, positions: usize) -> Result<usize, LoadError> {
    let expansion = late.expansion.as_ref().map(|e| e.length);
    let named =
        [("query_length", late.lengths[0]), ("document_length", late.lengths[1]), ("query_expansion", expansion)];
    for (key, length) in named {
        if let Some(length) = length.filter(|&n| n == 0 || n > positions) {
            let file =
                if late.markers.is_some() { "config_sentence_transformers.json" } else { "sentence_bert_config.json" };
            return Err(LoadError::invalid(
                &folder.encoder.join(file),
                format!("{key} is {length}, the model has positions for 1 to {positions}"),
            ));
        }
    }
    let general = late.lengths.contains(&None).then(|| folder.max_length.unwrap_or(positions));
    Ok(named.into_iter().filter_map(|(_, n)| n).chain(general).max().unwrap_or(positions))
}

/// The readings of roles, where a model reads them apart.
fn with_readings(
    tokenizer: Tokenizer,
    folder: &Folder,
    routes: &Routes,
    lookup: Option<&Lookup>,
) -> Result<Tokenizer, LoadError> {
    let single = routes.all().len() == 1;
    if single && folder.late.is_none() {
        return Ok(tokenizer);
    }
    let mut readings: [Reading; 3] = Default::default();
    for (at, role) in [None, Some(Role::Query), Some(Role::Document)].into_iter().enumerate() {
        let reading = &mut readings[at];
        let Some(route) = routes.of(role) else {
            reading.refused = true;
            continue;
        };
        let place = routes.place(role).unwrap_or(0);
        if let (Input::Static(home) | Input::SparseStatic(home), Some(rows)) =
            (&route.input, lookup.and_then(|l| l.rows(place)))
        {
            let mut notes = Notes::new(home);
            let rules = route.input.tokenizer_rules(&mut notes)?;
            reading.other = Some(Arc::new(table_tokenizer(&route.input, home, &rules, rows, None)?));
        }
        if let Some(late) = &folder.late {
            late_reading(reading, &tokenizer, folder, late, role)?;
        }
    }
    Ok(tokenizer.with_readings(readings))
}

/// Marker, length and filler of a late-interaction model's texts. A text of no role is read as a document.
fn late_reading(
    reading: &mut Reading,
    tokenizer: &Tokenizer,
    folder: &Folder,
    late: &LateInteraction,
    role: Option<Role>,
) -> Result<(), LoadError> {
    let path = folder.tokenizer_home.join("tokenizer.json");
    let is_query = role == Some(Role::Query);
    if let Some(markers) = &late.markers {
        let marker = &markers[usize::from(!is_query)];
        if !marker.is_empty() {
            let id = tokenizer.token_id(marker).ok_or_else(|| {
                LoadError::invalid(&path, format!("it has no token {marker:?}, which marks the model's texts"))
            })?;
            reading.marker = Some(id);
        }
    }
    // Without a role the library cuts at the tokenizer's own length; PyLate has no such texts.
    reading.max_length = match (role, &late.markers) {
        (None, None) => folder.max_length,
        (None, Some(_)) => late.lengths[1],
        (Some(role), _) => late.lengths[role as usize].or(folder.max_length),
    };
    if let Some(expansion) = late.expansion.as_ref().filter(|_| is_query) {
        let named = expansion.token.as_deref();
        let tokens = [named, folder.tokenizer.token("mask_token"), folder.tokenizer.token("eos_token")];
        let tokens = if named.is_some() { &tokens[..1] } else { &tokens[1..] };
        let usual = ["[MASK]", "<mask>"];
        let id = tokens
            .iter()
            .flatten()
            .find_map(|token| tokenizer.token_id(token))
            .or_else(|| usual.into_iter().filter(|_| named.is_none()).find_map(|token| tokenizer.token_id(token)))
            .ok_or_else(|| LoadError::invalid(&path, "it has no token that queries could be filled up with"))?;
        reading.filler = Some(Filler { id, length: expansion.length });
        reading.fixed = expansion.fixed;
        reading.max_length =
            if expansion.fixed { Some(expansion.length) } else { reading.max_length.map(|n| n.max(expansion.length)) };
    }
    Ok(())
}

/// min(what the files intend, positions); an option may go up to the positions.
fn longest_input(
    folder: &Path,
    options: &LoadOptions,
    intended: Option<usize>,
    positions: usize,
) -> Result<usize, LoadError> {
    match options.max_length {
        Some(n) if n == 0 || n > positions => Err(LoadError::invalid(
            &folder.join("config.json"),
            format!("max_length {n} is asked for, the model has positions for 1 to {positions}"),
        )),
        Some(n) => Ok(n),
        None => Ok(intended.map_or(positions, |n| n.min(positions))),
    }
}

fn unknown_architecture(folder: &Folder) -> LoadError {
    LoadError::unsupported(
        &folder.encoder.join("config.json"),
        format!(
            "architecture {:?} is not served; …Model, …ForSequenceClassification, …ForTokenClassification and …ForMaskedLM are",
            folder.config.architecture()
        ),
    )
}

fn no_weights(folder: &Path) -> LoadError {
    if weights::is_pickled(folder) {
        return weights::pickle(folder);
    }
    LoadError::unsupported(
        folder,
        "neither safetensors (model.safetensors, model.safetensors.index.json) nor an ONNX export (model.onnx, onnx/model.onnx) is there",
    )
}
