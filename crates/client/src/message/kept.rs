//! Answers of single items that are kept between jobs, by whoever passes messages on.
//!
//! What is kept of an item is the message that answers a message of that item alone, so what is kept is opened as any
//! answer is. Only answers are kept, never failures.

use std::{fmt, sync::Arc};

use prost::Message as _;
use sortie_proto::v1;

use super::{MessageAnswer, PassedRpc, distinct::DistinctItems};
use crate::{
    job::chunked::{ChunkAnswer, MergedAnswer, Resource},
    report::{ChunkReport, Report},
};

/// What an answer is called in a store: it stands for everything that the answer depends on.
pub type AnswerName = [u8; 32];

/// Where answers of items are kept. One is made for each job: it knows what the answers depend on beside the message.
///
/// Two different items, messages or RPCs must never get the same name.
pub trait AnswerStore: fmt::Debug + Send + Sync {
    /// The revision of the model whose answers these are. None are taken for a job that another revision answers too.
    fn revision(&self) -> &str;

    /// Whether a chunk was answered by what these answers are of, as far as its report says: a server that joined since
    /// its owner looked may serve the same revision otherwise.
    fn trusts(&self, chunk: &ChunkReport) -> bool;

    /// What all answers to a message depend on: its RPC, and the message without its items and its model.
    fn message_name(&self, rpc: &str, message: &[u8]) -> AnswerName;

    /// The name of an item's answer.
    fn item_name(&self, message: &AnswerName, item: &[u8]) -> AnswerName;

    /// The answer of that name, if it is there.
    fn get(&self, name: &AnswerName) -> Option<Arc<[u8]>>;

    /// Keeps an answer, for as long as the store likes.
    fn put(&self, name: AnswerName, answer: &[u8]);
}

/// What is known of an item.
#[derive(Debug)]
pub(super) struct ItemAnswer<V> {
    pub(super) value: V,
    pub(super) tokens: u32,
    pub(super) truncated: bool,
    pub(super) windows: Option<u32>,
}

/// What a store has of a job's items.
#[derive(Debug)]
pub(super) struct KeptAnswers<R: PassedRpc> {
    store: Arc<dyn AnswerStore>,
    names: Vec<AnswerName>,
    /// The facts that all of them share; none where there are none.
    pub(super) head: Option<R::Head>,
    /// Of each distinct item.
    pub(super) answers: Vec<Option<ItemAnswer<R::Value>>>,
}

impl<R: PassedRpc> KeptAnswers<R> {
    /// Whether answers to this message may be kept: those that depend on one item each, of the device. Tokenizing
    /// costs no more than looking up does.
    pub(super) fn are_for(rpc: &R) -> bool {
        !rpc.whole() && R::RESOURCE == Resource::Device
    }

    /// Looks all items up.
    pub(super) fn find(store: Arc<dyn AnswerStore>, rpc: &R, distinct: &DistinctItems) -> Self {
        let message = rpc.request("", v1::TextOptions::default(), Vec::new()).encode_to_vec();
        let message = store.message_name(R::NAME, &message);
        let mut bytes = Vec::new();
        let items = distinct.firsts.iter().filter_map(|&first| rpc.items().get(first));
        let name = |item: &v1::Input| {
            bytes.clear();
            // A vector has room for everything.
            let _ = item.encode(&mut bytes);
            store.item_name(&message, &bytes)
        };
        let names: Vec<AnswerName> = items.map(name).collect();
        let mut kept = Self { head: None, answers: Vec::with_capacity(names.len()), names, store };
        for name in &kept.names {
            let found = kept.store.get(name).and_then(|bytes| open::<R>(&bytes));
            let fitting = found.filter(|(head, _)| kept.head.get_or_insert_with(|| head.clone()) == head);
            kept.answers.push(fitting.map(|(_, answer)| answer));
        }
        kept
    }

    /// Numbers of the distinct items that it does not have.
    pub(super) fn missing(&self) -> Vec<usize> {
        let answers = self.answers.iter().enumerate();
        answers.filter(|(_, answer)| answer.is_none()).map(|(number, _)| number).collect()
    }

    /// The revision of the model whose answers these are.
    pub(super) fn revision(&self) -> &str {
        self.store.revision()
    }

    /// Whether these answers and those of a job may stand in one message: the same model gave them, or the job none.
    pub(super) fn goes_with(&self, fresh: &MergedAnswer<R::Head, R::Value>) -> bool {
        let same_head = self.head.is_none() || fresh.head.is_none() || self.head == fresh.head;
        let Report { chunks, revisions, .. } = &fresh.report;
        let same_model =
            || *revisions == [self.store.revision()] && chunks.iter().all(|chunk| self.store.trusts(chunk));
        same_head && (chunks.is_empty() || same_model())
    }

    /// Keeps what a job answered to the items of these numbers.
    pub(super) fn keep(&self, rpc: &R, numbers: &[usize], fresh: &MergedAnswer<R::Head, R::Value>) {
        let Report { tokens, truncated, windows, .. } = &fresh.report;
        for (at, (number, value)) in numbers.iter().zip(&fresh.values).enumerate() {
            let (Some(value), Some(&name)) = (value, self.names.get(*number)) else { continue };
            let one = Report {
                tokens: tokens.get(at).copied().into_iter().collect(),
                truncated: truncated.get(at).copied().into_iter().collect(),
                windows: windows.get(at).copied().into_iter().collect(),
                ..Report::default()
            };
            let merged = MergedAnswer { head: fresh.head.clone(), values: vec![Some(value.clone())], report: one };
            let MessageAnswer { message, .. } = rpc.finish(merged);
            self.store.put(name, &message.encode_to_vec());
        }
    }
}

/// Opens what was kept of an item; nothing where it does not fit.
fn open<R: PassedRpc>(bytes: &[u8]) -> Option<(R::Head, ItemAnswer<R::Value>)> {
    let answer = R::open(R::Response::decode(bytes).ok()?, 1).ok()?;
    let ChunkAnswer { head, values, items, .. } = answer;
    let value = values.into_iter().next()??;
    let answer = ItemAnswer {
        value,
        tokens: *items.tokens.first()?,
        truncated: *items.truncated.first()?,
        windows: items.windows.first().copied(),
    };
    Some((head, answer))
}
