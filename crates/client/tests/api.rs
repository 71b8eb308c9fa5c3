//! What the public types promise beside their methods: losing one of these breaks programs.

use std::{error::Error as StdError, fmt::Debug, hash::Hash};

use sortie_client::{
    Activation, Aggregation, AnswerStream, BatchReport, Bulk, BulkRun, Call, CallFuture, ChunkReport, Classified,
    Client, ClientBuilder, Compression, Discovery, DispatchConfig, DispatchConfigError, DispatchCounters, Embed,
    Embedded, EndpointStats, Error, ErrorKind, FieldViolation, Input, ItemError, Join, Lane, ModelInfo, ModelLimits,
    ModelLoad, ModelState, ModelStats, PartialAnswer, PerEndpoint, Pooling, Progress, Prompt, Ranked, Report, Rerank,
    Reranked, RevisionPolicy, Scoring, Similarities, SliceAnswer, Span, SparseEmbedded, SparseVector, Stats, Tagged,
    TaggedText, Task, TextOptions, Tls, Token, TokenIds, Tokenized, TraceContext, Truncation, VectorFormat,
};

/// May move between threads and show itself.
fn sent<T: Send + Debug + 'static>() {}

/// May also be used from several threads at once, and be copied.
fn shared<T: Send + Sync + Clone + Debug + Unpin + 'static>() {}

/// What comes back, to be compared in programs' tests.
fn value<T: Send + Sync + Clone + Debug + PartialEq + Unpin + 'static>() {}

/// A choice, to be a key or part of one.
fn choice<T: Send + Sync + Copy + Debug + Eq + Hash + Unpin + 'static>() {}

#[test]
fn what_is_kept_in_programs_is_shared() {
    shared::<Client>();
    shared::<ClientBuilder>();
    shared::<Discovery>();
    shared::<Tls>();
    shared::<Call<Rerank>>();
    shared::<PerEndpoint<ModelLoad>>();
    shared::<DispatchConfig>();
    shared::<Error>();
}

#[test]
fn answers_are_values() {
    value::<Reranked>();
    value::<Ranked>();
    value::<Embedded>();
    value::<SparseEmbedded>();
    value::<SparseVector>();
    value::<Classified>();
    value::<Similarities>();
    value::<Tagged>();
    value::<TaggedText>();
    value::<Span>();
    value::<Tokenized>();
    value::<Token>();
    value::<Report>();
    value::<ChunkReport>();
    value::<BatchReport>();
    value::<ItemError>();
    value::<PartialAnswer<Embedded>>();
    value::<SliceAnswer<Embedded>>();
    value::<Progress>();
    value::<ModelLoad>();
    value::<ModelInfo>();
    value::<ModelLimits>();
    value::<Prompt>();
    value::<Stats>();
    value::<EndpointStats>();
    value::<ModelStats>();
    value::<DispatchCounters>();
    value::<FieldViolation>();
    value::<TraceContext>();
    value::<Join>();
    value::<Input>();
    value::<TokenIds>();
    value::<TextOptions>();
}

#[test]
fn choices_are_keys() {
    choice::<ErrorKind>();
    choice::<Lane>();
    choice::<Compression>();
    choice::<Truncation>();
    choice::<Activation>();
    choice::<Pooling>();
    choice::<VectorFormat>();
    choice::<Scoring>();
    choice::<Aggregation>();
    choice::<Task>();
    choice::<ModelState>();
    choice::<RevisionPolicy>();
}

#[test]
fn work_under_way_may_move() {
    fn future<T: Send>() {}
    sent::<AnswerStream<Embedded>>();
    sent::<Bulk<futures::stream::Empty<String>>>();
    sent::<BulkRun<Embed>>();
    future::<CallFuture<Reranked>>();
}

#[test]
fn errors_are_errors() {
    fn error<T: StdError + Send + Sync + 'static>() {}
    error::<Error>();
    error::<DispatchConfigError>();
    // Small enough to travel in every result.
    assert_eq!(size_of::<Error>(), size_of::<usize>());
}
