//! One rerank job, whatever dialect it came in.

use sortie_proto::{
    ranking::best,
    v1::{
        Activation, Input, ModelInfo, RerankRequest, Scoring, TextOptions, WindowScore, Windows,
        input::Kind as InputKind,
    },
};

use crate::{
    door::Door,
    failure::{FailureKind, HttpFailure, check_items},
    reply::{Facts, finite},
    request::Caller,
};

/// What to score.
#[derive(Debug)]
pub(crate) struct RerankWork {
    /// What the dialect calls the documents.
    pub(crate) field: &'static str,
    pub(crate) query: String,
    pub(crate) texts: Vec<String>,
    pub(crate) options: TextOptions,
    pub(crate) activation: Activation,
    /// Most windows of a document that is too long; `None` cuts it.
    pub(crate) windows: Option<u32>,
    /// How many of the best; `None` for all.
    pub(crate) top_n: Option<usize>,
    /// The answer needs the texts again.
    pub(crate) keep_texts: bool,
    /// The answer has a place for documents that are left out.
    pub(crate) partial: bool,
}

impl RerankWork {
    pub(crate) fn new(
        field: &'static str,
        query: String,
        texts: Vec<String>,
        options: TextOptions,
        activation: Activation,
    ) -> Self {
        Self { field, query, texts, options, activation, windows: None, top_n: None, keep_texts: false, partial: true }
    }
}

/// Scores, best first.
#[derive(Debug)]
pub(crate) struct RankedDocument {
    pub(crate) model: String,
    /// Index and score, best first, ties by lower index.
    pub(crate) best: Vec<(u32, f32)>,
    /// All scores in the order sent; NaN where an item failed and partial answers are taken.
    pub(crate) scores: Vec<f32>,
    /// The texts, where the answer shows them.
    pub(crate) texts: Option<Vec<String>>,
    pub(crate) scoring: Scoring,
    pub(crate) facts: Facts,
}

/// Has a job scored.
pub(crate) async fn run(
    door: &Door,
    caller: &Caller,
    model: &ModelInfo,
    job: RerankWork,
) -> Result<RankedDocument, HttpFailure> {
    let RerankWork { field, query, texts, options, activation, windows, top_n, keep_texts, partial } = job;
    if query.is_empty() {
        return Err(HttpFailure::empty("query"));
    }
    let count = texts.len();
    let characters = query.chars().count() * count + texts.iter().map(|text| text.chars().count()).sum::<usize>();
    let kept = keep_texts.then(|| texts.clone());
    let text = |text: String| Input { kind: Some(InputKind::Text(text)) };
    let request = RerankRequest {
        model: model.name.clone(),
        query: Some(text(query)),
        documents: texts.into_iter().map(text).collect(),
        options: Some(options),
        activation: activation.into(),
        top_n: 0,
        windows: windows.map(|_| Windows { stride: 0, score: WindowScore::Max.into() }),
    };
    let names = [("documents", field), ("max_length", "truncate_prompt_tokens")];
    let answer = door.rerank(caller, request).await.map_err(|failure| failure.renamed(&names))?;
    let message = answer.message;
    if message.scores.len() != count {
        return Err(HttpFailure::other_count(message.scores.len(), count));
    }
    let scoring = Scoring::try_from(message.scoring).unwrap_or_default();
    if activation == Activation::Unspecified && matches!(scoring, Scoring::CrossEncoder | Scoring::LogitDifference) {
        // What was kept of the model said that its scores take no activation, and these do: they are raw.
        return Err(HttpFailure::new(
            FailureKind::Unavailable,
            format!("{} was exchanged just now; send it again", model.name),
        ));
    }
    let fate = check_items(message.items.as_ref(), count, field, partial && caller.partial)?;
    for (index, score) in message.scores.iter().enumerate().filter(|(index, _)| !fate.is_failed(*index)) {
        finite(*score, field, index)?;
    }
    let made = message.items.as_ref().map(|items| items.windows.as_slice()).unwrap_or_default();
    if let Some(most) = windows
        && let Some(index) = made.iter().position(|count| *count > most)
    {
        let why = format!("{field}[{index}] has {} chunks; fewer than all of them are not served", made[index]);
        return Err(HttpFailure::field("max_chunks_per_doc", why));
    }
    let mut scores = message.scores;
    fate.failed.iter().for_each(|index| scores[*index as usize] = f32::NAN);
    let best = best(&scores, top_n.unwrap_or(count)).into_iter().map(|index| (index, scores[index as usize])).collect();
    let facts = Facts {
        characters,
        query_truncated: message.query_truncated,
        scoring: Some(scoring),
        ..Facts::of(model, message.chunk, fate, count, answer.load)
    };
    Ok(RankedDocument { model: model.name.clone(), best, scores, texts: kept, scoring, facts })
}
