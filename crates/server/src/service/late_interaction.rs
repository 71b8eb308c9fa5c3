//! Documents compared with a query by their token vectors: computed here, or sent along by a caller who kept them.
//!
//! Comparing is milliseconds of arithmetic, and so is reading vectors that were sent. Both are done by a thread that
//! serves no connections, one document after the other, so that one document's numbers are held at a time.

use std::{
    num::NonZero,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use sortie_engine::{LateSimilarity, Output, TokenVectors, WindowScore, late_similarity};
use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::v1::{self, input::Kind};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    item_refusal::ItemRefusal,
    pipeline::{Item, Items, ParsedInput},
    token_vectors::SentVectors,
    vector_memory::VectorPermit,
};

/// Vectors that were sent along, or why they cannot be read; with the index of each among the request's inputs.
pub(super) type SentDocuments = Vec<(usize, Result<SentVectors, ItemRefusal>)>;

/// Takes out the inputs whose token vectors were sent along.
pub(super) fn take_sent(inputs: Vec<ParsedInput>, dimensions: usize) -> (SentDocuments, Vec<ParsedInput>) {
    let (mut sent, mut encoded) = (Vec::new(), Vec::with_capacity(inputs.len()));
    for (at, mut parsed) in inputs.into_iter().enumerate() {
        match parsed.input.kind.take() {
            Some(Kind::Vectors(vectors)) => sent.push((at, SentVectors::check(vectors, dimensions))),
            kind => encoded.push(ParsedInput { input: v1::Input { kind }, ..parsed }),
        }
    }
    (sent, encoded)
}

/// Bytes that all of them take once they are read.
pub(super) fn bytes_of(sent: &SentDocuments) -> u64 {
    sent.iter().flat_map(|(_, vectors)| vectors).map(SentVectors::bytes).sum()
}

/// What a query is compared with.
pub(super) enum DocumentVectors {
    /// Computed here, or refused.
    Encoded(Result<Item, ItemRefusal>),
    /// Sent along, and still to be read.
    Sent(Result<SentVectors, ItemRefusal>),
}

/// All documents of a request, in its order.
pub(super) fn in_order(encoded: Items, sent: SentDocuments) -> Vec<DocumentVectors> {
    let mut all = Vec::with_capacity(encoded.len() + sent.len());
    let mut encoded = encoded.into_iter().map(DocumentVectors::Encoded);
    for (at, vectors) in sent {
        all.extend(encoded.by_ref().take(at - all.len()));
        all.push(DocumentVectors::Sent(vectors));
    }
    all.extend(encoded);
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

/// Compares `query` with the documents: a score each, NaN where one failed, and the items without their numbers. Holds
/// `memory` until the documents are gone.
pub(super) async fn compare_documents(
    context: &RequestContext,
    query: Result<Item, ItemRefusal>,
    documents: Vec<DocumentVectors>,
    (by, windows): (LateSimilarity, WindowScore),
    memory: VectorPermit,
) -> Result<(Vec<f32>, Items), ServeError> {
    let _turn = COMPARING.acquire().await.map_err(|_| ServeError::Internal("the server ends".to_owned()))?;
    let (wanted, deadline) = (AnswerWanted::default(), context.deadline);
    let asked = Arc::clone(&wanted.0);
    let is_over = move || asked.load(Ordering::Relaxed) || deadline.is_some_and(|at| at <= Instant::now());
    let compare = move || {
        let compared = scores(&query, documents, (by, windows), is_over);
        drop(memory);
        compared
    };
    tokio::task::spawn_blocking(compare)
        .await
        .map_err(|_| ServeError::Internal("comparing token vectors panicked".to_owned()))?
        .ok_or(ServeError::DeadlineExceeded)
}

/// `None` once it is over, which is asked before each document.
fn scores(
    query: &Result<Item, ItemRefusal>,
    documents: Vec<DocumentVectors>,
    (by, windows): (LateSimilarity, WindowScore),
    is_over: impl Fn() -> bool,
) -> Option<(Vec<f32>, Items)> {
    let query = match query {
        Ok(Item { output: Output::TokenEmbeddings(vectors), .. }) => Some(vectors),
        _ => None,
    };
    let score = |output: &Output| match (query, output) {
        (Some(query), Output::TokenEmbeddings(vectors)) => late_similarity(query, vectors, by).unwrap_or(f32::NAN),
        _ => f32::NAN,
    };
    let (mut scores, mut items) = (Vec::with_capacity(documents.len()), Vec::with_capacity(documents.len()));
    for document in documents {
        if is_over() {
            return None;
        }
        let item = match document {
            DocumentVectors::Encoded(item) => item,
            DocumentVectors::Sent(vectors) => vectors
                .and_then(|vectors| vectors.read())
                .map(|read: TokenVectors| Item::of(Output::TokenEmbeddings(read))),
        };
        scores.push(item.as_ref().map_or(f32::NAN, |item| item.score(windows, score)));
        items.push(item.map(Item::without_output));
    }
    Some((scores, items))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEST: (LateSimilarity, WindowScore) = (LateSimilarity::MaxSim, WindowScore::Max);

    fn encoded(x: f32) -> Result<Item, ItemRefusal> {
        Ok(Item::of(Output::TokenEmbeddings(TokenVectors { dimensions: 1, values: vec![x], tokens: vec![0] })))
    }

    fn sent(x: f32) -> ParsedInput {
        let matrix = v1::TokenMatrix { rows: 1, vectors: x.to_le_bytes().to_vec().into(), ..Default::default() };
        let vectors = v1::TokenVectors { dimensions: 1, format: 1, matrix: Some(matrix) };
        ParsedInput { input: v1::Input { kind: Some(Kind::Vectors(vectors)) }, ..ParsedInput::text("") }
    }

    #[test]
    fn nothing_is_compared_once_nobody_waits() {
        let compared = |over: bool| {
            let refused = Err(ItemRefusal::unsupported("x"));
            let documents = vec![DocumentVectors::Encoded(encoded(3.0)), DocumentVectors::Encoded(refused)];
            scores(&encoded(2.0), documents, BEST, move || over)
        };
        assert_eq!(compared(false).map(|(scores, _)| (scores[0], scores[1].is_nan())), Some((6.0, true)));
        assert!(compared(true).is_none());
    }

    #[test]
    fn vectors_that_were_sent_are_compared_in_their_places() {
        let inputs = vec![sent(1.0), ParsedInput::text("a"), sent(f32::NAN), ParsedInput::text("b")];
        let (sent, texts) = take_sent(inputs, 1);
        assert_eq!((texts.len(), bytes_of(&sent)), (2, 8));
        let items = vec![encoded(5.0), encoded(7.0)];
        let (scores, items) = scores(&encoded(2.0), in_order(items, sent), BEST, || false).unwrap();
        assert_eq!((scores[0], scores[1], scores[2].is_nan(), scores[3]), (2.0, 10.0, true, 14.0));
        let reasons: Vec<_> = items.iter().map(|item| item.as_ref().err().map(|refusal| refusal.reason)).collect();
        assert_eq!(reasons, [None, None, Some("BAD_VECTORS"), None]);
        let empty = |item: &Item| item.output == Output::Logits(Vec::new());
        assert!(items.iter().flatten().all(empty), "the numbers are gone");
    }
}
