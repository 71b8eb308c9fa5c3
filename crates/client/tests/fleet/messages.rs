//! Messages passed on: items that are the same are computed once, kept ones not at all, and the answer is that to the
//! message as it came.

use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

use proptest::{prelude::*, test_runner::TestRunner};
use sortie_client::{AnswerName, AnswerStore, ChunkReport, Client, Message, MessageAnswer, MessageOptions};
use sortie_proto::v1::{self, Input, input::Kind};
use sortie_testkit::{Reply, TestServer, score_of, tokens_of};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::common::{connect, fleet};

/// Keeps everything, by whole keys, for as long as it lives.
#[derive(Clone, Debug, Default)]
struct Shelf {
    answers: Arc<Mutex<HashMap<AnswerName, Arc<[u8]>>>>,
    names: Arc<Mutex<HashMap<Vec<u8>, AnswerName>>>,
    revision: String,
    /// Servers of which it does not know whether they serve its model.
    strangers: Vec<String>,
}

impl Shelf {
    fn of(revision: &str) -> Self {
        Self { revision: revision.to_owned(), ..Self::default() }
    }

    /// The same shelf, of another revision.
    fn at(&self, revision: &str) -> Self {
        Self { revision: revision.to_owned(), ..self.clone() }
    }

    fn name(&self, of: Vec<u8>) -> AnswerName {
        let mut names = self.names.lock();
        let next = names.len() as u64;
        *names.entry(of).or_insert_with(|| {
            let mut name = [0; 32];
            name[..8].copy_from_slice(&next.to_le_bytes());
            name
        })
    }

    fn len(&self) -> usize {
        self.answers.lock().len()
    }
}

impl AnswerStore for Shelf {
    fn revision(&self) -> &str {
        &self.revision
    }

    fn trusts(&self, chunk: &ChunkReport) -> bool {
        !self.strangers.contains(&chunk.endpoint)
    }

    fn message_name(&self, rpc: &str, message: &[u8]) -> AnswerName {
        self.name([self.revision.as_bytes(), b"\0", rpc.as_bytes(), b"\0", message].concat())
    }

    fn item_name(&self, message: &AnswerName, item: &[u8]) -> AnswerName {
        self.name([message, item].concat())
    }

    fn get(&self, name: &AnswerName) -> Option<Arc<[u8]>> {
        self.answers.lock().get(name).cloned()
    }

    fn put(&self, name: AnswerName, answer: &[u8]) {
        self.answers.lock().insert(name, answer.into());
    }
}

fn text(text: &str) -> Input {
    Input { kind: Some(Kind::Text(text.to_owned())) }
}

fn inputs(texts: &[String]) -> Vec<Input> {
    texts.iter().map(|t| text(t)).collect()
}

fn rerank(texts: &[String]) -> v1::RerankRequest {
    v1::RerankRequest { query: Some(text("q")), documents: inputs(texts), top_n: 3, ..v1::RerankRequest::default() }
}

fn with(shelf: &Shelf) -> MessageOptions {
    let mut options = MessageOptions::default();
    options.answers = Some(Arc::new(shelf.clone()));
    options
}

/// Texts that came to the servers since `before` calls of each.
fn sent(servers: &[TestServer], before: &[usize]) -> Vec<String> {
    let calls = servers.iter().zip(before).flat_map(|(server, &before)| server.calls().split_off(before));
    calls.flat_map(|call| call.texts).collect()
}

fn calls(servers: &[TestServer]) -> Vec<usize> {
    servers.iter().map(|server| server.calls().len()).collect()
}

/// A message without what is of this run.
fn timeless<A: prost::Message + Clone>(message: &A, clear: impl FnOnce(&mut A)) -> Vec<u8> {
    let mut message = message.clone();
    clear(&mut message);
    message.encode_to_vec()
}

/// Asks for the answer that one server gives, for what is sent when it is asked for plainly, and, twice, with a shelf.
#[expect(clippy::unwrap_used, reason = "what tests ask")]
async fn asked<M: Message<Answer: prost::Message + Clone> + Clone>(
    client: &Client,
    shelf: &Shelf,
    message: &M,
    clear: fn(&mut M::Answer),
) -> [Vec<u8>; 3] {
    let plain = client.send(message.clone(), MessageOptions::default()).await.unwrap();
    let first = client.send(message.clone(), with(shelf)).await.unwrap();
    let again = client.send(message.clone(), with(shelf)).await.unwrap();
    assert_eq!(again.report.attempts, 0, "nothing is left to send");
    assert_eq!(again.report.kept, Some(again.report.tokens.len()));
    [plain, first, again].map(|answer: MessageAnswer<M::Answer>| timeless(&answer.message, clear))
}

/// Lists with few different texts, and texts that many lists share.
fn lists() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[abc]{0,2}( long){0,30}", 1..24)
}

#[test]
fn equal_items_are_sent_once_and_kept_ones_never() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (servers, client) = runtime.block_on(async {
        let servers = fleet(3).await;
        let client = connect(&servers).await;
        (servers, client)
    });
    let shelf = Shelf::of("r1");
    let config = ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&lists(), |texts| {
            runtime.block_on(async {
                let before = calls(&servers);
                let plain = client.send(rerank(&texts), MessageOptions::default()).await.unwrap();
                let mut went = sent(&servers, &before);
                let mut distinct = texts.clone();
                went.sort();
                distinct.sort();
                distinct.dedup();
                assert_eq!(went, distinct, "each text once");
                assert_eq!(plain.report.duplicates, texts.len() - distinct.len());
                assert_eq!(plain.report.kept, None);
                let answer = &plain.message;
                let scores: Vec<f32> = texts.iter().map(|text| score_of(text)).collect();
                assert_eq!(answer.scores, scores);
                assert_eq!(answer.order, sortie_proto::ranking::best(&scores, 3));
                let tokens: Vec<u32> = texts.iter().map(|text| tokens_of(text)).collect();
                assert_eq!(answer.items.as_ref().unwrap().tokens, tokens, "every item is counted");
                let computed: u32 = distinct.iter().map(|text| tokens_of(text)).sum();
                assert_eq!(answer.chunk.as_ref().unwrap().tokens, u64::from(computed), "what was computed");

                let [plain, first, again] = asked(&client, &shelf, &rerank(&texts), |a| a.chunk = None).await;
                assert!(plain == first && first == again);
                let windows = Some(v1::Windows { stride: 1, ..v1::Windows::default() });
                let message = v1::RerankRequest { windows, ..rerank(&texts) };
                let [plain, first, again] = asked(&client, &shelf, &message, |a| a.chunk = None).await;
                assert!(plain == first && first == again);
                let message = v1::EmbedRequest { inputs: inputs(&texts), ..v1::EmbedRequest::default() };
                let [plain, first, again] = asked(&client, &shelf, &message, |a| a.chunk = None).await;
                assert!(plain == first && first == again);
                let message = v1::EmbedTokensRequest { inputs: inputs(&texts), ..v1::EmbedTokensRequest::default() };
                let [plain, first, again] = asked(&client, &shelf, &message, |a| a.chunk = None).await;
                assert!(plain == first && first == again);
                let message = v1::ClassifyRequest { inputs: inputs(&texts), ..v1::ClassifyRequest::default() };
                let [plain, first, again] = asked(&client, &shelf, &message, |a| a.chunk = None).await;
                assert!(plain == first && first == again);
                let message = v1::TagTokensRequest { inputs: inputs(&texts), ..v1::TagTokensRequest::default() };
                let [plain, first, again] = asked(&client, &shelf, &message, |a| a.chunk = None).await;
                assert!(plain == first && first == again);
                let message = v1::SimilarityRequest {
                    source: Some(text("s")),
                    texts: inputs(&texts),
                    ..v1::SimilarityRequest::default()
                };
                let [plain, first, again] = asked(&client, &shelf, &message, |a| a.chunk = None).await;
                assert!(plain == first && first == again);
                // The script's entries go on counting over a chunk: of one text alone they are the same each time.
                let message = v1::EmbedSparseRequest { inputs: inputs(&texts[..1]), ..Default::default() };
                let [plain, first, again] = asked(&client, &shelf, &message, |a| a.chunk = None).await;
                assert!(plain == first && first == again);
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn what_is_beside_the_items_is_part_of_what_is_kept() {
    let servers = fleet(1).await;
    let client = connect(&servers).await;
    let shelf = Shelf::of("r1");
    let texts = ["a".to_owned(), "b".to_owned()];
    let message = rerank(&texts);
    client.send(message.clone(), with(&shelf)).await.unwrap();
    let options = |max_length| Some(v1::TextOptions { max_length, ..v1::TextOptions::default() });
    for other in [
        v1::RerankRequest { query: Some(text("p")), ..message.clone() },
        v1::RerankRequest { activation: v1::Activation::Sigmoid.into(), ..message.clone() },
        v1::RerankRequest { options: options(7), ..message.clone() },
        v1::RerankRequest { windows: Some(v1::Windows::default()), ..message.clone() },
    ] {
        let answer = client.send(other, with(&shelf)).await.unwrap();
        assert_eq!(answer.report.kept, Some(0));
    }
    let best = v1::RerankRequest { top_n: 1, ..message.clone() };
    let answer = client.send(best, with(&shelf)).await.unwrap();
    assert_eq!((answer.report.kept, answer.message.order.len()), (Some(2), 1), "how many are wanted changes no score");
    let embed = v1::EmbedRequest { inputs: inputs(&texts), ..v1::EmbedRequest::default() };
    assert_eq!(client.send(embed.clone(), with(&shelf)).await.unwrap().report.kept, Some(0));
    // Their ranges are those of all inputs together: no answer of one input is like another's.
    let whole = v1::EmbedRequest { format: v1::VectorFormat::Int8.into(), ..embed };
    let before = shelf.len();
    for _ in 0..2 {
        // The script does not make such numbers; what matters is that it is asked.
        let _ = client.send(whole.clone(), with(&shelf)).await;
    }
    assert_eq!(shelf.len(), before);
}

#[tokio::test]
async fn a_strangers_answers_are_neither_kept_nor_put_beside_kept_ones() {
    let servers = fleet(1).await;
    let client = connect(&servers).await;
    let shelf = Shelf::of("r1");
    let texts = ["a", "b", "c"].map(str::to_owned);
    client.send(rerank(&texts[..1]), with(&shelf)).await.unwrap();
    assert_eq!(shelf.len(), 1);
    let wary = Shelf { strangers: vec![servers[0].address()], ..shelf.clone() };
    let before = calls(&servers);
    let answer = client.send(rerank(&texts), with(&wary)).await.unwrap();
    assert_eq!(answer.report.kept, None, "all of it is the stranger's");
    assert_eq!(sent(&servers, &before), ["b", "c", "a", "b", "c"], "what was missing, then the whole job");
    assert_eq!(shelf.len(), 1);
    let answer = client.send(rerank(&texts[..1]), with(&wary)).await.unwrap();
    assert_eq!(answer.report.kept, Some(1), "what is kept is still right");
}

#[tokio::test]
async fn only_what_is_missing_is_sent_and_failures_are_sent_again() {
    let servers = fleet(1).await;
    let client = connect(&servers).await;
    let shelf = Shelf::of("r1");
    let all = ["a", "b", "c", "b", "d"].map(str::to_owned);
    client.send(rerank(&all[..2]), with(&shelf)).await.unwrap();
    servers[0].then(Reply::answer().item_error(0, "TOO_LONG", "the text has too many tokens"));
    let before = calls(&servers);
    let answer = client.send(rerank(&all), with(&shelf)).await.unwrap();
    assert_eq!(sent(&servers, &before), ["c", "d"]);
    assert_eq!((answer.report.kept, answer.report.duplicates), (Some(3), 0));
    let failed: Vec<_> = answer.report.errors.iter().map(|error| error.index).collect();
    assert_eq!(failed, [2]);
    assert!(answer.message.scores[2].is_nan());
    for place in [0, 1, 3, 4] {
        assert_eq!(answer.message.scores[place], score_of(&all[place]));
    }
    let before = calls(&servers);
    let answer = client.send(rerank(&all), with(&shelf)).await.unwrap();
    assert_eq!((sent(&servers, &before), answer.report.errors.len()), (vec!["c".to_owned()], 0));
}

#[tokio::test]
async fn the_failure_of_an_item_is_that_of_its_equals() {
    let servers = fleet(1).await;
    let client = connect(&servers).await;
    servers[0].then(Reply::answer().item_error(1, "TOO_LONG", "the text has too many tokens"));
    let texts = ["a", "a", "b", "a", "b"].map(str::to_owned);
    let answer = client.send(rerank(&texts), MessageOptions::default()).await.unwrap();
    let failed: Vec<_> = answer.message.items.unwrap().errors.iter().map(|error| error.index).collect();
    assert_eq!(failed, [2, 4]);
    assert_eq!(answer.message.order, [0, 1, 3]);
}

#[tokio::test]
async fn a_refusal_names_the_item_by_its_place_in_the_message() {
    let servers = fleet(1).await;
    let client = connect(&servers).await;
    servers[0].then(Reply::refuse(|| {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("documents[1]", "documents[1] has no text");
        Status::with_error_details(Code::InvalidArgument, "documents[1] has no text", details)
    }));
    let texts = ["a", "a", "a", "b"].map(str::to_owned);
    let error = client.send(rerank(&texts), MessageOptions::default()).await.unwrap_err();
    assert_eq!((error.message(), error.violations()[0].field.as_str()), ("documents[3] has no text", "documents[3]"));
}

#[tokio::test]
async fn another_revision_is_never_mixed_with_what_was_kept() {
    let servers = fleet(1).await;
    let client = connect(&servers).await;
    let shelf = Shelf::of("r1");
    let texts = ["a", "b", "c"].map(str::to_owned);
    client.send(rerank(&texts[..2]), with(&shelf)).await.unwrap();
    assert_eq!(shelf.len(), 2);
    servers[0].always(Reply::answer().revision("r2"));
    let before = calls(&servers);
    let answer = client.send(rerank(&texts), with(&shelf)).await.unwrap();
    assert_eq!(sent(&servers, &before), ["c", "a", "b", "c"], "first what was missing, then all of it");
    assert_eq!((answer.report.revisions, answer.report.kept), (vec!["r2".to_owned()], None));
    assert_eq!(answer.message.chunk.unwrap().model_revision, "r2");
    assert_eq!(shelf.len(), 2, "of a revision that nobody expected nothing is kept");
    let shelf = shelf.at("r2");
    assert_eq!(client.send(rerank(&texts), with(&shelf)).await.unwrap().report.kept, Some(0));
    assert_eq!(client.send(rerank(&texts), with(&shelf)).await.unwrap().report.kept, Some(3));
}

#[tokio::test]
async fn an_empty_list_is_refused_with_a_store_too() {
    let servers = fleet(1).await;
    let client = connect(&servers).await;
    let error = client.send(rerank(&[]), with(&Shelf::of("r1"))).await.unwrap_err();
    assert_eq!(error.reason(), Some("EMPTY_LIST"));
}
