//! Tokenizing off the async threads, over a few of them at once.
//!
//! A request is cut into stretches of about equal bytes; each waits for one of
//! the process's tokenizing places and runs on the blocking pool. When the
//! request's future is dropped, stretches stop at their next item.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sortie_engine::{EncodeOptions, InputError, Query};
use sortie_proto::v1::{Input, input::Kind};

use super::{
    read::{Asked, Reading, Tokens, Unread},
    validate::PromptText,
    whole_request,
};
use crate::{
    errors::{ItemRefusal, ServeError},
    models::Served,
};

/// Bytes that are worth another thread: about a millisecond of tokenizing.
const STRETCH_BYTES: usize = 16 << 10;

/// Set when nobody waits any more.
#[derive(Default)]
struct Cancelled(Arc<AtomicBool>);

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Makes tokens of every input, in order.
///
/// An error is the whole request's: options that no input can meet, or a fault of ours.
pub(crate) async fn tokenize(
    served: &Arc<Served>,
    asked: Vec<Asked>,
    reading: Reading,
) -> Result<Vec<Result<Tokens, ItemRefusal>>, ServeError> {
    let cancelled = Cancelled::default();
    let reading = Arc::new(reading);
    let stretches = stretches(asked, served.tokenize_threads);
    let jobs = stretches.into_iter().map(|stretch| {
        let (model, reading, flag) = (Arc::clone(served), Arc::clone(&reading), Arc::clone(&cancelled.0));
        blocking(served, move || {
            let tokenizer = model.model.tokenizer();
            let limit = model.limits.max_text_bytes;
            let mut read = Vec::with_capacity(stretch.len());
            for asked in &stretch {
                if flag.load(Ordering::Relaxed) {
                    break;
                }
                read.push(asked.read(tokenizer, &reading, limit));
            }
            learn(&model, &stretch, &reading, &read);
            read
        })
    });
    let mut all = Vec::new();
    for read in futures::future::try_join_all(jobs).await? {
        for item in read {
            all.push(match item {
                Ok(tokens) => Ok(tokens),
                Err(Unread::Refused(refusal)) => Err(refusal),
                Err(Unread::Input(error @ InputError::BadMaxLength { .. })) => {
                    return Err(whole_request("options.max_length", &error));
                }
                Err(Unread::Input(error)) => Err(error.into()),
            });
        }
    }
    Ok(all)
}

/// Makes the query that all documents of a request share.
pub(crate) async fn make_query(
    served: &Arc<Served>,
    input: Input,
    prompt: Option<Arc<PromptText>>,
    fit: EncodeOptions,
) -> Result<Query, ServeError> {
    let model = Arc::clone(served);
    let made = blocking(served, move || match input.kind {
        Some(Kind::Text(text)) => {
            let text = prompt.map_or_else(|| text.clone(), |p| format!("{}{text}", p.text));
            model.model.tokenizer().query(&text, &fit)
        }
        Some(Kind::Tokens(tokens)) => model.model.tokenizer().query_from_ids(&tokens.ids, &fit),
        _ => Err(InputError::BadIds("a query is a text or ids".to_owned())),
    });
    made.await?.map_err(|error| whole_request("query", &error))
}

/// Runs `work` on the blocking pool once a tokenizing place is free.
async fn blocking<T: Send + 'static>(
    served: &Served,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServeError> {
    let places = Arc::clone(&served.tokenizers);
    let place = places.acquire_owned().await.map_err(|_| ServeError::Draining)?;
    tokio::task::spawn_blocking(move || {
        let done = work();
        drop(place);
        done
    })
    .await
    .map_err(|e| ServeError::Internal(format!("tokenizing ended early: {e}")))
}

/// Cuts into at most `most` runs of about equal bytes, none much below [`STRETCH_BYTES`].
fn stretches(asked: Vec<Asked>, most: usize) -> Vec<Vec<Asked>> {
    let total: usize = asked.iter().map(weight).sum();
    let count = (total / STRETCH_BYTES).clamp(1, most.max(1));
    let each = total.div_ceil(count).max(1);
    let mut all: Vec<Vec<Asked>> = vec![Vec::new()];
    let mut filled = 0;
    for item in asked {
        if filled >= each && all.len() < count {
            all.push(Vec::new());
            filled = 0;
        }
        filled += weight(&item);
        if let Some(last) = all.last_mut() {
            last.push(item);
        }
    }
    all
}

/// An item costs something even without a byte.
fn weight(asked: &Asked) -> usize {
    /// Bytes that take as long as an item's fixed work.
    const FIXED: usize = 64;
    asked.size().0 + FIXED
}

/// Learns tokens a byte from texts that were not cut.
fn learn(served: &Served, asked: &[Asked], reading: &Reading, read: &[Result<Tokens, Unread>]) {
    let query = match reading {
        Reading::Documents(query) => query.tokens(),
        Reading::Alone | Reading::Pieces { .. } | Reading::Detailed { .. } => 0,
    };
    let (mut bytes, mut tokens) = (0, 0);
    for (a, r) in asked.iter().zip(read) {
        if let Ok(t) = r
            && !t.sequence.truncated
            && a.size().1 == 0
        {
            bytes += a.size().0;
            tokens += t.sequence.len().saturating_sub(query);
        }
    }
    served.ratio.observe(bytes, tokens);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stretches_keep_everything_in_order(sizes in prop::collection::vec(0usize..40_000, 0..60), most in 1usize..9) {
            let asked: Vec<_> = sizes.iter().map(|n| Asked::text("x".repeat(*n))).collect();
            let cut = stretches(asked, most);
            prop_assert!(cut.len() <= most);
            let back: Vec<_> = cut.iter().flatten().map(|a| a.size().0).collect();
            prop_assert_eq!(back, sizes);
        }
    }

    #[test]
    fn large_requests_use_every_thread() {
        let asked: Vec<_> = (0..200).map(|_| Asked::text("x".repeat(1000))).collect();
        let cut = stretches(asked, 4);
        assert_eq!(cut.len(), 4);
        assert!(cut.iter().all(|s| (40..=60).contains(&s.len())), "{:?}", cut.iter().map(Vec::len).collect::<Vec<_>>());
    }
}
