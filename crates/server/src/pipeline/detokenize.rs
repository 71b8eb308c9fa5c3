//! Token ids back to text, on the threads that tokenize.

use std::sync::Arc;

use parking_lot::Mutex;
use sortie_frontend::{RequestContext, ServeError};
use tokio::sync::oneshot;

use crate::{item_refusal::ItemRefusal, models::Served, tokenizing::ParallelTask};

/// Ids, or why there are none, and the text, or why there is none.
type Sequences = Vec<Result<Vec<u32>, ItemRefusal>>;
type DecodedTexts = Vec<Result<String, ItemRefusal>>;

/// Makes the text of every sequence, in order.
///
/// # Errors
/// [`ServeError::Internal`] where the task ended without an answer.
pub(crate) async fn detokenize(
    served: &Arc<Served>,
    context: &RequestContext,
    sequences: Sequences,
    keep_special: bool,
) -> Result<DecodedTexts, ServeError> {
    let (tell, told) = oneshot::channel();
    let task = DetokenizeTask { served: Arc::clone(served), keep_special, work: Mutex::new(Some((sequences, tell))) };
    served.tokenizers.queue(context.caller.lane, &Arc::new(task), 1);
    // Dropped unanswered by a panic, or when the pool is gone.
    told.await.map_err(|_| ServeError::Internal("detokenizing ended early".to_owned()))
}

/// The sequences of one request, which one thread turns into text: it takes under a microsecond a token.
struct DetokenizeTask {
    served: Arc<Served>,
    keep_special: bool,
    work: Mutex<Option<(Sequences, oneshot::Sender<DecodedTexts>)>>,
}

impl ParallelTask for DetokenizeTask {
    fn run(&self, _piece: usize) -> bool {
        // Taken first: a panic drops it, and whoever waits is told.
        let Some((sequences, tell)) = self.work.lock().take() else { return false };
        let tokenizer = self.served.model.tokenizer();
        let mut texts = Vec::with_capacity(sequences.len());
        for ids in sequences {
            // Whoever asked may have gone.
            if tell.is_closed() {
                return false;
            }
            texts.push(ids.and_then(|ids| tokenizer.decode(&ids, self.keep_special).map_err(ItemRefusal::from)));
        }
        let _ = tell.send(texts);
        true
    }
}
