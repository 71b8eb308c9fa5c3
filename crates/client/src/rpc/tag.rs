//! TagTokens: labelled stretches of texts.

use sortie_proto::v1;
use tonic::{Response, Status};

use super::chunked;
use crate::{
    call::Call,
    client::Client,
    input::{Activation, Input, to_wire},
    job::chunked::{ChunkAnswer, ChunkedRpc, Malformed, MergedAnswer, SharedInput, expect_len},
    report::Report,
    transport::Stub,
};

/// Bytes assumed of a token's span: label, bounds, score.
const ASSUMED_SPAN_BYTES: u64 = 48;

/// Labels assumed of a model whose per-token scores are asked for.
const ASSUMED_LABELS: u64 = 64;

/// Finds labelled stretches of texts; made by [`Client::tag`].
#[derive(Clone, Debug)]
pub struct Tag {
    inputs: Vec<v1::Input>,
    aggregation: Aggregation,
    per_token_scores: bool,
    activation: Activation,
    ignore_labels: Vec<String>,
    labels: Vec<String>,
    threshold: Option<f32>,
    nested: bool,
    multi_label: bool,
}

/// How token labels become spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Aggregation {
    /// Words by script and tokenizer, each with the label of its first token; neighbours of one entity are joined.
    #[default]
    Words,
    /// One span a token, as transformers' `none`.
    None,
    /// Neighbouring tokens of one entity are joined, as transformers' `simple`.
    Simple,
    /// Words with the label of their first token, as transformers' `first`.
    First,
    /// Words with the label of the best mean, as transformers' `average`.
    Average,
    /// Words with the label of their best token, as transformers' `max`.
    Max,
}

/// A stretch of text with a label.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Span {
    /// Its label, without `B-` or `I-` where spans are joined.
    pub label: String,
    /// Its bytes in the UTF-8 text that was sent.
    pub range: std::ops::Range<usize>,
    /// The label's score: the mean over what was joined.
    pub score: f32,
}

/// What was found in one text.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TaggedText {
    /// In text order.
    pub spans: Vec<Span>,
    /// One row of label scores a token, specials included; empty unless asked for.
    pub token_scores: Vec<Vec<f32>>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Tagged {
    /// One an input, in request order; `None` where it failed, with its reason in [`Report::errors`].
    pub texts: Vec<Option<TaggedText>>,
    /// Labels, in the order of per-token scores.
    pub labels: Vec<String>,
    /// What happened.
    pub report: Report,
}

impl Client {
    /// Finds labelled stretches of texts.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = sortie_testkit::TestServer::start().await?;
    /// # let client = sortie_client::Client::builder().endpoint(server.address()).connect().await?;
    /// let text = "Ada lives in Paris";
    /// let answer = client.tag([text]).await?;
    /// for span in answer.texts.iter().flatten().flat_map(|found| &found.spans) {
    ///     println!("{} {:?}", span.label, text.get(span.range.clone()));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn tag<I>(&self, inputs: I) -> Call<Tag>
    where
        I: IntoIterator,
        I::Item: Into<Input>,
    {
        let rpc = Tag {
            inputs: to_wire(inputs),
            aggregation: Aggregation::default(),
            per_token_scores: false,
            activation: Activation::default(),
            ignore_labels: Vec::new(),
            labels: Vec::new(),
            threshold: None,
            nested: false,
            multi_label: false,
        };
        Call::new(self, rpc)
    }
}

impl Call<Tag> {
    /// Sets how token labels are joined to spans.
    pub fn aggregation(mut self, aggregation: Aggregation) -> Self {
        self.rpc.aggregation = aggregation;
        self
    }

    /// Asks for the scores of every token too.
    pub fn per_token_scores(mut self, ask: bool) -> Self {
        self.rpc.per_token_scores = ask;
        self
    }

    /// Sets the activation that is applied to the logits.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.rpc.activation = activation;
        self
    }

    /// Sets the labels that make no span. The default is the label `O` alone.
    pub fn ignore_labels<I>(mut self, labels: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.rpc.ignore_labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Sets what to find, in words, for a model whose labels come with the request
    /// ([`ModelInfo::labels_in_request`](crate::ModelInfo::labels_in_request)); other models refuse them.
    pub fn labels<I>(mut self, labels: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.rpc.labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the score, from 0 to 1, above which something is found, for such a model; it is 0.5 otherwise.
    pub fn threshold(mut self, threshold: f32) -> Self {
        self.rpc.threshold = Some(threshold);
        self
    }

    /// Lets such a model find spans within spans.
    pub fn nested(mut self, allow: bool) -> Self {
        self.rpc.nested = allow;
        self
    }

    /// Lets such a model give a span several labels.
    pub fn multi_label(mut self, allow: bool) -> Self {
        self.rpc.multi_label = allow;
        self
    }
}

fn text(wire: v1::TaggedText, labels: usize) -> Result<TaggedText, Malformed> {
    let spans = wire.spans.into_iter().map(|span| Span {
        label: span.label,
        range: span.start as usize..span.end as usize,
        score: span.score,
    });
    if !wire.token_scores.is_empty() && (labels == 0 || !wire.token_scores.len().is_multiple_of(labels)) {
        return Err(Malformed(format!("the answer has {} token scores of {labels} labels", wire.token_scores.len())));
    }
    let token_scores = wire.token_scores.chunks(labels.max(1)).map(<[f32]>::to_vec).collect();
    Ok(TaggedText { spans: spans.collect(), token_scores })
}

/// Bytes of what is found in so many tokens.
pub(crate) fn answer_bytes(tokens: u64, per_token_scores: bool) -> u64 {
    let scores = if per_token_scores { size_of::<f32>() as u64 * ASSUMED_LABELS } else { 0 };
    tokens * (ASSUMED_SPAN_BYTES + scores)
}

impl ChunkedRpc for Tag {
    type Request = v1::TagTokensRequest;
    type Response = v1::TagTokensResponse;
    type Head = Vec<String>;
    type Value = TaggedText;
    type Output = Tagged;

    const NAME: &'static str = "TagTokens";
    const ITEMS: &'static str = "inputs";

    fn items(&self) -> &[v1::Input] {
        &self.inputs
    }

    fn shared(&self) -> SharedInput<'_> {
        SharedInput::LabelsPerItem(&self.labels)
    }

    fn answer_bytes(&self, tokens: u64) -> u64 {
        answer_bytes(tokens, self.per_token_scores)
    }

    fn request(&self, model: &str, text: v1::TextOptions, items: Vec<v1::Input>) -> v1::TagTokensRequest {
        let aggregation = match self.aggregation {
            // The default, which a model whose labels come with the request has no use for.
            Aggregation::Words if !self.labels.is_empty() => v1::Aggregation::Unspecified,
            Aggregation::Words => v1::Aggregation::Words,
            Aggregation::None => v1::Aggregation::None,
            Aggregation::Simple => v1::Aggregation::Simple,
            Aggregation::First => v1::Aggregation::First,
            Aggregation::Average => v1::Aggregation::Average,
            Aggregation::Max => v1::Aggregation::Max,
        };
        v1::TagTokensRequest {
            model: model.to_owned(),
            inputs: items,
            options: Some(text),
            aggregation: aggregation.into(),
            per_token_scores: self.per_token_scores,
            activation: self.activation.to_wire(),
            ignore_labels: self.ignore_labels.clone(),
            labels: self.labels.clone(),
            threshold: self.threshold,
            nested: self.nested,
            multi_label: self.multi_label,
        }
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::TagTokensRequest>,
    ) -> Result<Response<v1::TagTokensResponse>, Status> {
        stub.tag_tokens(request).await
    }

    fn open(response: v1::TagTokensResponse, count: usize) -> Result<ChunkAnswer<Self::Head, TaggedText>, Malformed> {
        let v1::TagTokensResponse { texts, labels, items, chunk } = response;
        expect_len("texts", texts.len(), count)?;
        let values = texts.into_iter().map(|wire| text(wire, labels.len()).map(Some)).collect::<Result<_, _>>()?;
        Ok(ChunkAnswer { head: labels, values, items: items.unwrap_or_default(), chunk: chunk.unwrap_or_default() })
    }

    fn finish(&self, merged: MergedAnswer<Self::Head, TaggedText>) -> Tagged {
        let MergedAnswer { head, values, report } = merged;
        Tagged { texts: values, labels: head.unwrap_or_default(), report }
    }
}

chunked!(Tag);
