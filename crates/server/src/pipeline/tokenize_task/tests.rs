//! What is read, when, and where it goes.

use std::{path::Path, sync::mpsc};

use proptest::prelude::*;
use sortie_frontend::CallerInfo;
use sortie_work::Lane;

use super::*;
use crate::{
    config::{ModelSpec, ServerConfig},
    metrics::Metrics,
    models::Registry,
};

/// A tiny reranker with one tokenizing thread.
async fn served() -> (Arc<Served>, Arc<Metrics>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/tiny/bert-rerank");
    let path = folder.to_str().unwrap().to_owned();
    let model =
        ModelSpec { name: "m".to_owned(), path, max_length: None, pooling: None, prefer_onnx: false, onnx_file: None };
    let config = ServerConfig { models: vec![model], threads: 1, tokenize_threads: 1, ..ServerConfig::default() };
    let metrics = Arc::new(Metrics::new().unwrap());
    let registry = Registry::load(&config, "r", &metrics.batches).await.unwrap();
    (registry.get("m").unwrap(), metrics)
}

fn context(metrics: &Arc<Metrics>, deadline: Option<Instant>) -> RequestContext {
    RequestContext::new(Instant::now(), deadline, CallerInfo::default(), Arc::clone(&metrics.frontend.requests), None)
}

/// Inputs of several pieces.
fn inputs() -> Vec<ParsedInput> {
    (0..8).map(|_| ParsedInput::text("a few words. ".repeat(PIECE_BYTES / 26))).collect()
}

/// Holds the only thread until it is told.
struct Holds(Mutex<mpsc::Receiver<()>>);

impl ParallelTask for Holds {
    fn run(&self, _piece: usize) -> bool {
        // Either way the thread goes on.
        let _ = self.0.lock().recv();
        true
    }
}

#[tokio::test]
async fn what_is_cancelled_or_late_is_not_read() {
    let (served, metrics) = served().await;
    let held = |context: RequestContext| {
        let (go, gone) = mpsc::channel();
        served.tokenizers.queue(Lane::Interactive, &Arc::new(Holds(Mutex::new(gone))), 1);
        (go, TokenizeTask::start(&served, &context, inputs(), InputKind::Alone, TokenSink::Keep))
    };
    let (go, reads) = held(context(&metrics, None));
    drop(reads);
    go.send(()).unwrap();
    let (go, late) = held(context(&metrics, Some(Instant::now())));
    go.send(()).unwrap();
    assert_eq!(late.ended().await.unwrap_err(), ServeError::DeadlineExceeded);
    assert_eq!(served.tokenizing.sums().0, 0);
    let (go, reads) = held(context(&metrics, None));
    go.send(()).unwrap();
    let (results, _) = reads.ended().await.unwrap();
    assert!(results.len() == 8 && results.iter().all(|s| s.as_ref().is_ok_and(|m| m.kept.len() == m.tokens)));
    assert_eq!(served.tokenizing.sums().0, 8);
}

#[tokio::test]
async fn items_are_queued_before_the_last_is_read() {
    let (served, metrics) = served().await;
    let admission = served.scheduler.admit(sortie_scheduler::Request::of(10_000)).unwrap();
    let (sink, response) = admission.stream();
    // The first piece has its turn before what holds the thread, the others behind it.
    let (begin, begun) = mpsc::channel();
    served.tokenizers.queue(Lane::Interactive, &Arc::new(Holds(Mutex::new(begun))), 1);
    let sink = TokenSink::Queue { sink: RwLock::new(Some(sink)), want: Want::Logits };
    let reads = TokenizeTask::start(&served, &context(&metrics, None), inputs(), InputKind::Alone, sink);
    let (go, gone) = mpsc::channel();
    served.tokenizers.queue(Lane::Interactive, &Arc::new(Holds(Mutex::new(gone))), 1);
    begin.send(()).unwrap();
    while served.tokenizing.sums().0 == 0 {
        tokio::task::yield_now().await;
    }
    let first = reads.task.results.first().unwrap();
    while first.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    let fed = reads.task.queued_items.load(Ordering::Relaxed);
    assert!(fed > 0 && fed < 8, "{fed} of 8");
    go.send(()).unwrap();
    let result = response.await.unwrap();
    assert_eq!(result.outputs.len(), 8);
    let (results, _) = reads.ended().await.unwrap();
    let mut numbers: Vec<usize> = results.iter().flat_map(|s| s.as_ref().unwrap().queued.clone()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..8).collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn pieces_keep_everything_in_order(sizes in prop::collection::vec(0usize..40_000, 0..60), bytes in 1usize..50_000) {
        let inputs: Vec<_> = sizes.iter().map(|n| ParsedInput::text("x".repeat(*n))).collect();
        let cut = pieces(&inputs, bytes);
        let back: Vec<usize> = cut.iter().cloned().flatten().collect();
        prop_assert_eq!(back, (0..sizes.len()).collect::<Vec<_>>());
        let full = |range: &Range<usize>| inputs[range.clone()].iter().map(weight).sum::<usize>() >= bytes;
        prop_assert!(cut.iter().rev().skip(1).all(full));
        prop_assert!(cut.iter().all(|range| range.len() == 1 || !full(&(range.start..range.end - 1))));
    }
}
