//! How large a call's items are, how it is cut by that, and what answers teach about such guesses.

use prost::Message as _;
use sortie_dispatch::{Amount, Fleet, ItemSize, JobOptions, ModelId, Plan, SharedSize, TextSize, Texts};
use sortie_proto::v1::{self, input::Kind};

use super::chunked::{ChunkAnswer, ChunkedRpc, SharedInput};
use crate::{
    error::{Error, ErrorKind},
    options::CallOptions,
    state::ClientState,
};

/// Bytes of text and ready ids of an input.
fn size_of(input: &v1::Input) -> TextSize {
    match &input.kind {
        Some(Kind::Text(text)) => TextSize { bytes: text.len() as u64, ids: 0 },
        Some(Kind::Pair(pair)) => TextSize { bytes: (pair.first.len() + pair.second.len()) as u64, ids: 0 },
        Some(Kind::Tokens(tokens)) => TextSize { bytes: 0, ids: tokens.ids.len() as u64 },
        // Vectors are compared, not encoded.
        Some(Kind::Vectors(_)) | None => TextSize::default(),
    }
}

/// Bytes that a label has beside its own: a mark stands before it in the text, tag and length in the message.
const LABEL_MARK_BYTES: u64 = 4;

/// The sizes of a call, in request order.
#[derive(Debug)]
pub(crate) struct ItemSizes {
    /// Text and ids of the sequence each item becomes.
    inputs: Vec<TextSize>,
    items: Vec<ItemSize>,
    shared: SharedSize,
}

impl ItemSizes {
    /// Measures a call by what is known of its model.
    fn measure<R: ChunkedRpc>(rpc: &R, max_length: Option<u32>, fleet: &Fleet, model: ModelId) -> Self {
        let most = max_length.map_or(u64::MAX, u64::from).max(1);
        let tokens = |size: TextSize| fleet.estimate(model, size, most);
        let (curve, longest) = (fleet.curve(model), fleet.longest(model, most));
        let (with_each, shared) = match rpc.shared() {
            SharedInput::Nothing => (TextSize::default(), SharedSize::default()),
            SharedInput::PerChunk(input) => {
                let Amount { tokens, work } = curve.of(tokens(size_of(input)));
                let shared = SharedSize { tokens, work, bytes: input.encoded_len() as u64 };
                (TextSize::default(), shared)
            }
            SharedInput::PerItem(input) => {
                (size_of(input), SharedSize { bytes: input.encoded_len() as u64, ..SharedSize::default() })
            }
            SharedInput::LabelsPerItem(labels) => {
                let bytes = labels.iter().map(|label| label.len() as u64 + LABEL_MARK_BYTES).sum();
                (TextSize { bytes, ids: 0 }, SharedSize { bytes, ..SharedSize::default() })
            }
        };
        let inputs: Vec<_> = rpc.items().iter().map(|input| size_of(input).and(with_each)).collect();
        let item = |(input, size): (&v1::Input, &TextSize)| {
            let Amount { tokens, work } = match rpc.stride() {
                None => curve.of(tokens(*size)),
                // Each window is a sequence of its own.
                Some(stride) => {
                    let tokens = fleet.estimate_windows(model, size_of(input), with_each, stride.into(), most);
                    Amount { tokens, work: curve.windows(tokens, longest) }
                }
            };
            ItemSize { tokens, work, bytes: input.encoded_len() as u64, answer_bytes: rpc.answer_bytes(tokens) }
        };
        let items = rpc.items().iter().zip(&inputs).map(item).collect();
        Self { inputs, items, shared }
    }

    /// Bytes of an item as it is sent.
    pub(crate) fn bytes_of(&self, index: usize) -> u64 {
        self.items.get(index).map_or(0, |item| item.bytes)
    }

    /// What an answer to the items at `indices` teaches of texts.
    pub(crate) fn texts<H, V>(&self, indices: &[usize], answer: &ChunkAnswer<H, V>) -> Texts {
        let mut texts = Texts::default();
        for (at, (&index, &tokens)) in indices.iter().zip(&answer.items.tokens).enumerate() {
            let cut = answer.items.truncated.get(at).copied().unwrap_or_default();
            let Some(size) = self.inputs.get(index) else { continue };
            let windows = answer.items.windows.get(at).copied().unwrap_or(1);
            // Texts that were cut, read more than once or failed, and ready ids, say nothing of bytes.
            if tokens > 0 && !cut && windows <= 1 && size.ids == 0 {
                texts.bytes += size.bytes;
                texts.tokens += u64::from(tokens);
                texts.items += 1;
            }
        }
        texts
    }
}

/// The options of a job that stays whole where its answer must be one, or where a gateway cuts it, which hedges too.
pub(crate) fn kept_whole<R: ChunkedRpc>(state: &ClientState, rpc: &R, model: &str, wants: JobOptions) -> JobOptions {
    let mut fleet = state.fleet();
    let id = fleet.model(model, R::RESOURCE);
    if fleet.cuts_jobs(id) {
        wants.whole().hedging(false)
    } else if rpc.whole() {
        wants.whole()
    } else {
        wants
    }
}

/// Measures a call and cuts it.
pub(crate) fn cut<R: ChunkedRpc>(
    state: &ClientState,
    rpc: &R,
    model: &str,
    options: &CallOptions,
    wants: &JobOptions,
) -> Result<(ModelId, ItemSizes, Plan), Error> {
    let mut fleet = state.fleet();
    let id = fleet.model(model, R::RESOURCE);
    let sizes = ItemSizes::measure(rpc, options.text.max_length, &fleet, id);
    let limit = fleet.config().limits.max_message_bytes;
    let SharedSize { bytes, .. } = sizes.shared;
    if bytes >= limit {
        let message = format!("the query has {bytes} bytes; a message may have {limit}");
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    let plan = fleet.plan(id, &sizes.items, sizes.shared, wants, state.now());
    if rpc.whole() && plan.expected_chunks() > 1 {
        let message = format!("{} are more than one server takes at once, and their answer must be one", R::ITEMS);
        return Err(Error::new(ErrorKind::TooLarge, message).with_reason("JOB_TOO_LARGE"));
    }
    Ok((id, sizes, plan))
}
