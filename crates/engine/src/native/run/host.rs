//! The host's side of a native model: sequences to a graph's inputs, its numbers to
//! answers. Neither touches the device, so both run beside it.
//!
//! A batch is cut into *groups* where one run would need too much memory; each group
//! is one run. A group that fits a bucket of the grid is brought to its shape.

use std::sync::Arc;

use super::{
    super::{
        family::PositionSegments,
        graph::{
            Head,
            names::{OUTPUT, PICKED, POOLED},
        },
    },
    buckets::{Bucket, Grid},
    inputs::{self, HostTensor, Rows},
    packing::{Bounds, PackedInputs},
};
use crate::{
    folder::{Route, Routes},
    item::{EmbedSpec, ItemFault, Output, Sequence, Want, WorkItem},
    post,
    spans::SpanScores,
    task::{Pooling, Task},
};

/// Bytes that the (tokens × vocabulary) logits of a masked-LM head may take in one
/// run: they are reduced to a row a sequence at once, but must exist before.
const MAX_SPARSE_BYTES: usize = 256 << 20;

/// Bytes that the inner states of pairs of a word and a label may take in one run, where words are scored: a text alone may
/// have more.
const MAX_PAIR_BYTES: usize = 256 << 20;

/// Most (sequences × tokens) members of a mean on the device, 256 MB of them: only very
/// many very short texts come near.
const MAX_MEMBERS: usize = 64 << 20;

/// Outputs of a graph, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Outputs {
    /// The output that every graph has.
    pub(crate) whole: bool,
    /// One row a sequence, as it stands.
    pub(crate) picked: bool,
    /// One pooled row a sequence.
    pub(crate) pooled: bool,
}

impl Outputs {
    /// Their names.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        [(self.whole, OUTPUT), (self.picked, PICKED), (self.pooled, POOLED)]
            .into_iter()
            .filter_map(|(wanted, name)| wanted.then_some(name))
    }
}

/// One run, laid out.
#[derive(Debug)]
pub(crate) struct Group {
    /// Places of its items in the batch.
    places: Vec<usize>,
    /// Where each sequence's tokens lie.
    cumulative: Vec<i32>,
    pub(crate) inputs: Vec<HostTensor>,
    pub(crate) outputs: Outputs,
    /// Number and shape of the bucket it was brought to.
    pub(crate) bucket: Option<(usize, Bucket)>,
}

/// A batch, laid out.
#[derive(Debug)]
pub(crate) struct NativeBatch {
    faults: Vec<Option<ItemFault>>,
    pub(crate) groups: Vec<Group>,
}

impl Group {
    /// Tokens that the device is given.
    pub(crate) fn tokens(&self) -> usize {
        match self.bucket {
            Some((_, bucket)) => bucket.tokens,
            None => self.cumulative.last().and_then(|&t| usize::try_from(t).ok()).unwrap_or(0),
        }
    }

    /// Sequences that the device is given.
    pub(crate) fn sequences(&self) -> usize {
        self.bucket.map_or(self.places.len(), |(_, bucket)| bucket.sequences)
    }
}

impl NativeBatch {
    /// Tokens that the device is given.
    pub(crate) fn tokens(&self) -> usize {
        self.groups.iter().map(Group::tokens).sum()
    }
}

/// What the device gave for one group, by output.
#[derive(Debug, Default)]
pub(crate) struct DeviceNumbers {
    pub(crate) whole: Vec<f32>,
    pub(crate) picked: Vec<f32>,
    pub(crate) pooled: Vec<f32>,
}

/// What the device gave for a batch.
#[derive(Debug)]
pub(crate) struct NativeRaw {
    faults: Vec<Option<ItemFault>>,
    groups: Vec<(Vec<usize>, Vec<i32>, DeviceNumbers)>,
}

impl NativeRaw {
    /// Nothing yet, with room for the groups of `batch`; its groups come apart.
    pub(crate) fn of(batch: NativeBatch) -> (Self, Vec<Group>) {
        (Self { faults: batch.faults, groups: Vec::with_capacity(batch.groups.len()) }, batch.groups)
    }

    /// Adds what one group gave.
    pub(crate) fn put(&mut self, group: Group, numbers: DeviceNumbers) {
        self.groups.push((group.places, group.cumulative, numbers));
    }
}

/// What the host knows of a loaded graph.
#[derive(Debug)]
pub(crate) struct NativeHost {
    pub(crate) bounds: Bounds,
    pub(crate) numbering: PositionSegments,
    pub(crate) task: Task,
    pub(crate) head: Head,
    pub(crate) routes: Arc<Routes>,
    /// Numbers in an output row.
    pub(crate) width: usize,
    /// Bytes of a pair of a word and a label where words are scored; 0 elsewhere.
    pub(crate) pair_bytes: usize,
    /// Inputs the graph takes.
    pub(crate) inputs: Vec<&'static str>,
    /// Outputs the graph has.
    pub(crate) has: Outputs,
    /// What [`POOLED`] is, where there is one.
    pub(crate) pooling: Option<Pooling>,
    /// Shapes that graphs are captured for.
    pub(crate) grid: Option<Grid>,
}

impl NativeHost {
    /// Lays a batch out.
    pub(crate) fn prepare(&self, items: &[&WorkItem]) -> NativeBatch {
        let faults: Vec<_> = items.iter().map(|i| self.refuse(i)).collect();
        let ready: Vec<usize> = (0..items.len()).filter(|&i| faults[i].is_none()).collect();
        let groups = self.cut(items, &ready).into_iter().map(|places| self.lay_out(items, places)).collect();
        NativeBatch { faults, groups }
    }

    /// Why an item cannot run at all.
    fn refuse(&self, item: &WorkItem) -> Option<ItemFault> {
        let suits = matches!(
            (&self.task, item.want),
            (Task::SequenceClassification { .. }, Want::Logits)
                | (Task::TokenClassification { .. }, Want::TokenLogits)
                | (Task::Embedding, Want::Embedding(_) | Want::TokenEmbeddings)
                | (Task::SparseEmbedding, Want::Sparse)
                | (Task::LateInteraction, Want::TokenEmbeddings)
                | (Task::ZeroShotTagging { .. }, Want::SpanScores)
        );
        if !suits {
            return Some(ItemFault::WrongWant(item.want.name()));
        }
        if matches!(self.head, Head::Spans { .. }) && item.sequence.places.as_ref().is_none_or(|p| p.labels.is_empty())
        {
            return Some(ItemFault::BadSequence("the labels are missing that it is to be scored against".into()));
        }
        self.bounds.check(&item.sequence).err().map(ItemFault::BadSequence)
    }

    /// Cuts work where one run would need too much memory.
    fn cut(&self, items: &[&WorkItem], ready: &[usize]) -> Vec<Vec<usize>> {
        let most_tokens = match self.head {
            Head::Vocabulary { .. } => MAX_SPARSE_BYTES / (self.width * size_of::<f32>()).max(1),
            _ => usize::MAX,
        };
        let most_pairs = MAX_PAIR_BYTES / (self.pair_bytes).max(1);
        let most_members = if self.has.pooled { MAX_MEMBERS } else { usize::MAX };
        let mut groups = Vec::new();
        let (mut group, mut tokens, mut pairs) = (Vec::new(), 0, 0);
        for &i in ready {
            let n = items[i].sequence.len();
            let members = (tokens + n).saturating_mul(group.len() + 1);
            let own = match (self.head, &items[i].sequence.places) {
                (Head::Spans { width: None }, Some(places)) => places.words.len() * places.labels.len(),
                _ => 0,
            };
            if !group.is_empty() && (tokens + n > most_tokens || members > most_members || pairs + own > most_pairs) {
                groups.push(std::mem::take(&mut group));
                (tokens, pairs) = (0, 0);
            }
            group.push(i);
            tokens += n;
            pairs += own;
        }
        if !group.is_empty() {
            groups.push(group);
        }
        groups
    }

    fn lay_out(&self, items: &[&WorkItem], places: Vec<usize>) -> Group {
        let mut flat = PackedInputs::pack(places.iter().map(|&i| &items[i].sequence), self.numbering);
        let cumulative = flat.cumulative.clone();
        let lengths: Vec<usize> = flat.lengths().collect();
        let mut longest = lengths.iter().copied().max().unwrap_or(0);
        let fit = self.grid.as_ref().and_then(|grid| grid.fit(&lengths));
        if let Some((_, bucket, fillers)) = &fit {
            longest = bucket.longest;
            fillers.iter().for_each(|&n| flat.fill(n, self.numbering));
        }
        let mut outputs = Outputs::default();
        for &i in &places {
            match self.source(items[i]) {
                RowSource::Whole => outputs.whole = true,
                RowSource::Picked => outputs.picked = true,
                RowSource::Pooled => outputs.pooled = true,
            }
        }
        let last = |&i: &usize| self.device_pooling(items[i]) == Some(Pooling::Last);
        let picked: Vec<bool> = places.iter().map(last).collect();
        let rows = if matches!(self.head, Head::Vocabulary { .. }) { Rows::Chunks } else { Rows::Tokens };
        let inputs = inputs::tensors(flat, &self.inputs, longest, &picked, rows);
        Group { places, cumulative, inputs, outputs, bucket: fit.map(|(number, bucket, _)| (number, bucket)) }
    }

    /// The chain of a sequence's route.
    fn route(&self, sequence: &Sequence) -> Option<&Route> {
        self.routes.of(sequence.role)
    }

    /// The pooling of an item that a device may do.
    fn device_pooling(&self, item: &WorkItem) -> Option<Pooling> {
        let spec = match item.want {
            Want::Embedding(spec) => spec,
            Want::Logits if self.head == Head::States => EmbedSpec::default(),
            _ => return None,
        };
        self.route(&item.sequence).and_then(|route| route.chain.device_pooling(&spec, &item.sequence))
    }

    /// Which output holds what is wanted.
    fn source(&self, item: &WorkItem) -> RowSource {
        match self.device_pooling(item) {
            Some(Pooling::Cls | Pooling::Last) if self.has.picked => RowSource::Picked,
            Some(pooling) if self.has.pooled && Some(pooling) == self.pooling => RowSource::Pooled,
            _ => RowSource::Whole,
        }
    }

    /// Turns what the device gave into one answer an item, in order.
    pub(crate) fn finish(&self, items: &[&WorkItem], raw: NativeRaw) -> Vec<Result<Output, ItemFault>> {
        let missing = || Err(ItemFault::Run("the item was not run".into()));
        let mut answers: Vec<_> = raw.faults.into_iter().map(|f| f.map_or_else(missing, Err)).collect();
        for (places, cumulative, numbers) in raw.groups {
            let mut scores = 0;
            for (k, &place) in places.iter().enumerate() {
                if let (Some(answer), Some(item)) = (answers.get_mut(place), items.get(place)) {
                    *answer = match self.head {
                        Head::Spans { width } => span_scores(item, width, &mut scores, &numbers.whole),
                        _ => self.answer(item, k, &cumulative, &numbers),
                    };
                }
            }
        }
        answers.resize_with(items.len(), missing);
        answers
    }

    /// The answer of the `k`th item of a group.
    fn answer(
        &self,
        item: &WorkItem,
        k: usize,
        cumulative: &[i32],
        numbers: &DeviceNumbers,
    ) -> Result<Output, ItemFault> {
        let bound = |at: usize| cumulative.get(at).and_then(|&c| usize::try_from(c).ok()).unwrap_or(0);
        let one = k..k + 1;
        let (from, rows) = match self.source(item) {
            RowSource::Picked => (&numbers.picked, one),
            RowSource::Pooled => (&numbers.pooled, one),
            RowSource::Whole if self.head.is_per_token() => (&numbers.whole, bound(k)..bound(k + 1)),
            RowSource::Whole => (&numbers.whole, one),
        };
        let short = || ItemFault::Run("the model gave fewer numbers than it should".into());
        let part = from.get(rows.start * self.width..rows.end * self.width).ok_or_else(short)?;
        let route = self.route(&item.sequence).ok_or(ItemFault::WrongWant("texts of this role"))?;
        let vector = |spec: &EmbedSpec| match self.source(item) {
            RowSource::Whole => route.chain.vector(part, self.width, &item.sequence, spec),
            _ => route.chain.vector_of_row(part.to_vec(), &item.sequence, spec),
        };
        Ok(match item.want {
            Want::Logits if self.head == Head::States => Output::Logits(vector(&EmbedSpec::default())?),
            Want::Logits => Output::Logits(finite(part)?),
            Want::TokenLogits => Output::TokenLogits(finite(part)?),
            Want::SpanScores => return Err(ItemFault::WrongWant(item.want.name())),
            Want::Embedding(spec) => Output::Embedding(vector(&spec)?),
            Want::TokenEmbeddings => Output::TokenEmbeddings(route.chain.tokens(part, self.width, &item.sequence)?),
            Want::Sparse => {
                let rule = route.sparse.unwrap_or_default();
                Output::Sparse(if rule.sum { rule.of_weights(part)? } else { rule.of_largest(part)? })
            }
        })
    }
}

enum RowSource {
    Whole,
    Picked,
    Pooled,
}

/// An item's scores, from place `at` of all on, which moves on behind them.
fn span_scores(item: &WorkItem, width: Option<usize>, at: &mut usize, all: &[f32]) -> Result<Output, ItemFault> {
    let (words, labels) = item.sequence.places.as_ref().map_or((0, 0), |p| (p.words.len(), p.labels.len()));
    let count = SpanScores::count(words, labels, width);
    let own = all.get(*at..*at + count);
    *at += count;
    let own = own.ok_or_else(|| ItemFault::Run("the model gave fewer numbers than it should".into()))?;
    Ok(Output::SpanScores(SpanScores { words, labels, width, values: finite(own)? }))
}

fn finite(rows: &[f32]) -> Result<Vec<f32>, ItemFault> {
    post::all_finite(rows)?;
    Ok(rows.to_vec())
}
