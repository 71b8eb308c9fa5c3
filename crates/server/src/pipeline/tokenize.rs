//! Tokenizing for a request: its query, and inputs that need no device.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use parking_lot::Mutex;
use sortie_engine::{InputError, Query};
use sortie_frontend::{RequestContext, ServeError};
use sortie_proto::v1::input::Kind;
use sortie_work::TextSize;
use tokio::sync::oneshot;

use super::{
    input::{InputKind, ParsedInput, Tokens},
    refusals::whole_request,
    tokenize_task::{TokenSink, TokenizeTask, TokenizedItem},
};
use crate::{item_refusal::ItemRefusal, models::Served, tokenizing::ParallelTask};

/// A query of at most so many bytes is read where its request is: the slowest tokenizer takes some 50 µs for it, and
/// handing it to a thread of the pool and back takes longer than that on an idle machine.
const SHORT_QUERY_BYTES: u64 = 192;

/// Makes tokens of every input, in order.
///
/// An error is the whole request's: options that no input can meet, a deadline that passed, or a fault of ours.
pub(crate) async fn tokenize(
    served: &Arc<Served>,
    context: &RequestContext,
    inputs: Vec<ParsedInput>,
    input_kind: InputKind,
) -> Result<Vec<Result<Tokens, ItemRefusal>>, ServeError> {
    let (results, _) = TokenizeTask::start(served, context, inputs, input_kind, TokenSink::Keep).ended().await?;
    let kept = |made: TokenizedItem| Tokens { sequence: made.kept, windows: None, details: made.details };
    Ok(results.into_iter().map(|result| result.map(kept)).collect())
}

/// Makes the query that all documents of a request share.
pub(crate) async fn make_query(
    served: &Arc<Served>,
    context: &RequestContext,
    input: ParsedInput,
) -> Result<Query, ServeError> {
    let begun = Instant::now();
    let TextSize { bytes, ids } = input.size();
    if bytes + ids * size_of::<u32>() as u64 <= SHORT_QUERY_BYTES {
        let made = catch_unwind(AssertUnwindSafe(|| query(served, &input)))
            .map_err(|_| ServeError::Internal("tokenizing the query panicked".to_owned()))?;
        context.note_query(begun.elapsed());
        return made.map_err(|error| whole_request("query", &error));
    }
    let (tell, told) = oneshot::channel();
    let task = Arc::new(QueryTask { served: Arc::clone(served), input, tell: Mutex::new(Some(tell)) });
    served.tokenizers.queue(context.caller.lane, &task, 1);
    // Dropped unanswered by a panic, or when the pool is gone.
    let made = told.await.map_err(|_| ServeError::Internal("tokenizing the query ended early".to_owned()))?;
    context.note_query(begun.elapsed());
    made.map_err(|error| whole_request("query", &error))
}

fn query(served: &Served, ParsedInput { input, prompt, fit, .. }: &ParsedInput) -> Result<Query, InputError> {
    let tokenizer = served.model.tokenizer();
    match &input.kind {
        Some(Kind::Text(text)) => tokenizer.query_after(prompt.as_ref().map_or("", |p| &p.text), text, fit),
        Some(Kind::Tokens(tokens)) => tokenizer.query_from_ids(&tokens.ids, fit),
        _ => Err(InputError::BadIds("a query is a text or ids".to_owned())),
    }
}

/// A query that a thread of the pool makes.
struct QueryTask {
    served: Arc<Served>,
    input: ParsedInput,
    tell: Mutex<Option<oneshot::Sender<Result<Query, InputError>>>>,
}

impl ParallelTask for QueryTask {
    fn run(&self, _piece: usize) -> bool {
        // Taken first: a panic drops it, and whoever waits is told.
        let Some(tell) = self.tell.lock().take().filter(|tell| !tell.is_closed()) else { return false };
        // Whoever asked may have gone.
        let _ = tell.send(query(&self.served, &self.input));
        true
    }
}
