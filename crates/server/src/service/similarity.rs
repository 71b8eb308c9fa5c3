//! Similarity: one text against many by the cosine of their vectors, made with
//! the model's own pooling and all dimensions. Also Rerank's way on an embedding
//! model, and on a late-interaction model by its own similarity.

use std::{
    num::NonZero,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use sortie_engine::{LateSimilarity, Output, Task, TokenVectors, Want, WindowScore, cosine, late_similarity};
use sortie_proto::v1::{self, input::Kind};

use tokio::{sync::Semaphore, time::Instant};

use super::{
    convert::{never_cut, parse_inputs, two_sides, vector},
    work::run,
};
use crate::{
    context::RequestContext,
    errors::{ItemRefusal, ServeError},
    models::{Registry, Served},
    pipeline::{InferenceRequest, InputKind, Item, Items, ParsedInput, check_list, item_info, text_rules},
    token_vectors::read_vectors,
};

/// Compares one text with many.
pub(super) async fn similarity(
    registry: &Registry,
    context: &RequestContext,
    request: v1::SimilarityRequest,
) -> Result<v1::SimilarityResponse, ServeError> {
    let served = &registry.get(&request.model)?;
    context.note_model(served);
    if served.info().task != Task::Embedding {
        return Err(served.wrong_task("Similarity"));
    }
    let source = request.source.unwrap_or_default();
    if source.kind.is_none() {
        return Err(ServeError::MissingInput { field: "source".to_owned() });
    }
    check_list("texts", &request.texts, served.limits.max_items)?;
    let rules = text_rules(served, request.options)?;
    let (for_source, for_texts) = two_sides(served, &rules);
    let source = ParsedInput { input: source, prompt: for_source.prompt, fit: never_cut(for_source.fit), stride: None };
    let many = Many { inputs: parse_inputs(request.texts, &for_texts), pairs: true, windows: None };
    let Compared { scores, items, chunk, .. } = compare(served, context, "source", source, many).await?;
    Ok(v1::SimilarityResponse { scores, items: Some(items), chunk: Some(chunk) })
}

/// One text compared with many.
pub(super) struct Compared {
    /// One score a text; NaN where it failed.
    pub(super) scores: Vec<f32>,
    /// Facts of the many.
    pub(super) items: v1::ItemInfo,
    pub(super) chunk: v1::ChunkInfo,
    /// Whether the one was cut.
    pub(super) first_truncated: bool,
}

/// What one text is compared with.
pub(super) struct Many {
    pub(super) inputs: Vec<ParsedInput>,
    /// Whether a pair of texts may be an item.
    pub(super) pairs: bool,
    /// What becomes of the scores of windows; the best counts where a request did not say.
    pub(super) windows: Option<WindowScore>,
}

/// Compares `first` with each of `many` by their vectors; NaN where an item failed. A `first` that fails is the
/// request's error, under the name `field`.
pub(super) async fn compare(
    served: &Arc<Served>,
    context: &RequestContext,
    field: &'static str,
    first: ParsedInput,
    many: Many,
) -> Result<Compared, ServeError> {
    let info = served.info();
    let late = (info.task == Task::LateInteraction).then(|| info.late_similarity.unwrap_or_default());
    let (given, encoded) = match late {
        Some(_) => given_vectors(many.inputs, info.dimensions),
        None => (Vec::new(), many.inputs),
    };
    let inputs = std::iter::once(first).chain(encoded).collect();
    let input_kind = InputKind::WithoutSpecials { pairs: many.pairs };
    let want = if late.is_some() { Want::TokenEmbeddings } else { Want::Embedding(info.embed) };
    let (mut items, chunk) = run(served, context, InferenceRequest { inputs, input_kind, want }).await?;
    let first = items.remove(0);
    let items = with_given(items, given);
    if let Err(refusal) = &first {
        return Err(match refusal.reason {
            "TOO_LONG" => ServeError::QueryTooLong { field, message: refusal.message.clone() },
            "RUN_FAILED" | "NON_FINITE_OUTPUT" => ServeError::RunFailed(refusal.message.clone()),
            _ => ServeError::bad_field(field, refusal.message.clone()),
        });
    }
    let first_truncated = first.as_ref().is_ok_and(|item| item.truncated);
    let facts = item_info(&items);
    let windows = many.windows.unwrap_or_default();
    let scores = match late {
        None => {
            let with = vector(&first).unwrap_or_default();
            let score = |output: &Output| match output {
                Output::Embedding(vector) => cosine(with, vector),
                _ => f32::NAN,
            };
            items.iter().map(|item| item.as_ref().map_or(f32::NAN, |item| item.score(windows, score))).collect()
        }
        // Milliseconds of arithmetic, which the threads that serve connections must not do.
        Some(by) => {
            let _turn = COMPARING.acquire().await.map_err(|_| ServeError::Internal("the server ends".to_owned()))?;
            let (wanted, deadline) = (AnswerWanted::default(), context.deadline);
            let asked = Arc::clone(&wanted.0);
            let is_over = move || asked.load(Ordering::Relaxed) || deadline.is_some_and(|at| at <= Instant::now());
            tokio::task::spawn_blocking(move || late_scores(&first, &items, by, windows, is_over))
                .await
                .map_err(|_| ServeError::Internal("comparing token vectors panicked".to_owned()))?
                .ok_or(ServeError::DeadlineExceeded)?
        }
    };
    Ok(Compared { scores, items: facts, chunk, first_truncated })
}

/// Takes out the inputs whose token vectors were sent along, each with its place.
fn given_vectors(inputs: Vec<ParsedInput>, dimensions: usize) -> (Vec<(usize, SentVectors)>, Vec<ParsedInput>) {
    let (mut given, mut encoded) = (Vec::new(), Vec::with_capacity(inputs.len()));
    for (at, mut parsed) in inputs.into_iter().enumerate() {
        match parsed.input.kind.take() {
            Some(Kind::Vectors(vectors)) => given.push((at, read_vectors(&vectors, dimensions))),
            kind => encoded.push(ParsedInput { input: v1::Input { kind }, ..parsed }),
        }
    }
    (given, encoded)
}

type SentVectors = Result<TokenVectors, ItemRefusal>;

/// Puts vectors that were sent along back between the items that were computed.
fn with_given(items: Items, given: Vec<(usize, SentVectors)>) -> Items {
    let mut all = Vec::with_capacity(items.len() + given.len());
    let mut computed = items.into_iter();
    for (at, given) in given {
        all.extend(computed.by_ref().take(at - all.len()));
        all.push(given.map(|vectors| Item::of(Output::TokenEmbeddings(vectors))));
    }
    all.extend(computed);
    all
}

/// Comparisons of token vectors that run at once: one a core, however many requests there are.
static COMPARING: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(thread::available_parallelism().map_or(1, NonZero::get)));

/// Says that nobody wants the answer any more once it is dropped.
#[derive(Default)]
struct AnswerWanted(Arc<AtomicBool>);

impl Drop for AnswerWanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A score each; `None` once it is over, which is asked before each.
fn late_scores(
    first: &Result<Item, ItemRefusal>,
    others: &Items,
    by: LateSimilarity,
    windows: WindowScore,
    is_over: impl Fn() -> bool,
) -> Option<Vec<f32>> {
    let Ok(Item { output: Output::TokenEmbeddings(with), .. }) = first else {
        return Some(vec![f32::NAN; others.len()]);
    };
    let score = |output: &Output| match output {
        Output::TokenEmbeddings(vectors) => late_similarity(with, vectors, by).unwrap_or(f32::NAN),
        _ => f32::NAN,
    };
    let one = |item: &Result<Item, ItemRefusal>| {
        (!is_over()).then(|| item.as_ref().map_or(f32::NAN, |item| item.score(windows, score)))
    };
    others.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_compared_once_nobody_waits() {
        let one = |x| {
            let vectors = TokenVectors { dimensions: 1, values: vec![x], tokens: vec![0] };
            Ok(Item::of(Output::TokenEmbeddings(vectors)))
        };
        let scores = |over: bool| {
            let others = vec![one(3.0), Err(ItemRefusal::unsupported("x"))];
            late_scores(&one(2.0), &others, LateSimilarity::MaxSim, WindowScore::Max, move || over)
        };
        assert_eq!(scores(false).map(|s| (s[0], s[1].is_nan())), Some((6.0, true)));
        assert_eq!(scores(true), None);
    }

    #[test]
    fn vectors_that_were_sent_go_back_to_their_places() {
        let matrix =
            |x: f32| v1::TokenMatrix { rows: 1, vectors: x.to_le_bytes().to_vec().into(), ..Default::default() };
        let vectors = |x| v1::TokenVectors { dimensions: 1, format: 1, matrix: Some(matrix(x)) };
        let sent =
            |x| ParsedInput { input: v1::Input { kind: Some(Kind::Vectors(vectors(x))) }, ..ParsedInput::text("") };
        let inputs = vec![sent(1.0), ParsedInput::text("a"), sent(f32::NAN), ParsedInput::text("b")];
        let (given, encoded) = given_vectors(inputs, 1);
        assert_eq!(encoded.len(), 2);
        let computed = encoded.iter().map(|_| Ok(Item::of(Output::Logits(vec![])))).collect();
        let all = with_given(computed, given);
        let kinds: Vec<_> =
            all.iter().map(|item| item.as_ref().map(|i| i.output.clone()).map_err(|e| e.reason)).collect();
        let one = TokenVectors { dimensions: 1, values: vec![1.0], tokens: vec![0] };
        let computed = Ok(Output::Logits(vec![]));
        assert_eq!(kinds, [Ok(Output::TokenEmbeddings(one)), computed.clone(), Err("BAD_VECTORS"), computed]);
    }
}
