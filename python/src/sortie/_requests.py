"""Each RPC: its message, and what is made of the answer. Nothing here sends anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import numpy as np
from google.protobuf.message import Message

from . import answers, info
from ._wire import details_pb2
from .answers import expect
from .errors import SortieError
from .inputs import Input, TokenIds, Windows, choice, count, input_to_wire, inputs_to_wire, windows_to_wire, word_of
from .v1 import encoder_service_pb2 as pb
from .v1 import input_pb2, model_pb2, vector_pb2

T = TypeVar("T")

Activation: TypeAlias = Literal["raw", "sigmoid", "softmax", "model"]
"""What is done to logits: nothing, each on its own, over the labels, or what the model's folder names."""

Pooling: TypeAlias = Literal["cls", "mean", "max", "last", "mean_sqrt_len", "weighted_mean"]
"""How token states become one vector."""

Aggregation: TypeAlias = Literal["words", "none", "simple", "first", "average", "max"]
"""How token labels become spans; all but ``words`` as transformers has them."""

Health: TypeAlias = Literal["serving", "not_serving", "service_unknown", "unknown"]
"""What a server says of its health."""

SERVICE = "/sortie.v1.EncoderService/"


@dataclass(frozen=True)
class Request(Generic[T]):
    """A message on its way, and what reads its answer."""

    method: str
    """Path of the RPC."""
    message: Message
    """What is sent."""
    model: str
    """The model it asks; empty where it names none."""
    read: Callable[[bytes], T]
    """Makes the answer of a response's bytes."""
    once: bool = False
    """Asks how things stand: it is not sent again."""


def rerank(
    model: str,
    query: Input,
    documents: Iterable[Input],
    options: input_pb2.TextOptions,
    activation: Activation | None,
    top_n: int | None,
    windows: Windows | None,
) -> Request[answers.Reranked]:
    """Scores of documents against a query."""
    message = pb.RerankRequest(
        model=model,
        query=input_to_wire(query, "query"),
        documents=inputs_to_wire(documents, "documents"),
        options=options,
        activation=_activation(activation),
        top_n=count("top_n", top_n),
        windows=windows_to_wire(windows),
    )
    items = len(message.documents)

    def read(data: bytes) -> answers.Reranked:
        wire = pb.RerankResponse.FromString(data)
        scores = np.array(wire.scores, np.float32)
        expect("scores", len(scores), items)
        order = np.array(wire.order, np.uint32)
        if len(order) > items or (len(order) > 0 and int(order.max()) >= items):
            raise SortieError.protocol("the answer's order has documents that were not sent")
        return answers.Reranked(
            items=answers.item_info(wire.items, items),
            scores=scores,
            order=order,
            scoring=word_of(pb.Scoring, "SCORING", wire.scoring),
            query_truncated=wire.query_truncated,
            chunk=answers.chunk_info(wire.chunk),
        )

    return Request(SERVICE + "Rerank", message, model, read)


def embed(
    model: str,
    inputs: Iterable[Input],
    options: input_pb2.TextOptions,
    pooling: Pooling | None,
    normalize: bool | None,
    dimensions: int | None,
    form: answers.VectorFormat | None,
    ranges: answers.Ranges | None,
    windows: Windows | None,
) -> Request[answers.Embedded]:
    """Dense vectors."""
    message = pb.EmbedRequest(
        model=model,
        inputs=inputs_to_wire(inputs, "inputs"),
        options=options,
        pooling=choice(model_pb2.Pooling, "POOLING", "pooling", pooling),
        normalize=normalize,
        dimensions=count("dimensions", dimensions),
        format=_format(form),
        ranges=_ranges(ranges),
        windows=windows_to_wire(windows),
    )
    items = len(message.inputs)

    def read(data: bytes) -> answers.Embedded:
        wire = pb.EmbedResponse.FromString(data)
        name = answers.format_of(wire.format)
        made_with = None
        if wire.HasField("ranges"):
            starts, ends = (np.array(list(side), np.float32) for side in (wire.ranges.starts, wire.ranges.ends))
            made_with = answers.Ranges(starts, ends)
        return answers.Embedded(
            items=answers.item_info(wire.items, items),
            vectors=answers.rows_of("vectors", wire.vectors, items, wire.dimensions, name),
            dimensions=wire.dimensions,
            format=name,
            ranges=made_with,
            chunk=answers.chunk_info(wire.chunk),
        )

    return Request(SERVICE + "Embed", message, model, read)


def embed_tokens(
    model: str,
    inputs: Iterable[Input],
    options: input_pb2.TextOptions,
    form: answers.VectorFormat | None,
    with_places: bool,
) -> Request[answers.TokensEmbedded]:
    """One vector a token."""
    message = pb.EmbedTokensRequest(
        model=model,
        inputs=inputs_to_wire(inputs, "inputs"),
        options=options,
        format=_format(form),
        with_places=with_places,
    )
    items = len(message.inputs)

    def read(data: bytes) -> answers.TokensEmbedded:
        wire = pb.EmbedTokensResponse.FromString(data)
        expect("matrices", len(wire.matrices), items)
        name = answers.format_of(wire.format)
        matrices = []
        for index, matrix in enumerate(wire.matrices):
            what = f"vectors of input {index}"
            rows = answers.rows_of(what, matrix.vectors, matrix.rows, wire.dimensions, name)
            places = np.array(matrix.tokens, np.uint32) if with_places else None
            if places is not None:
                expect(f"places of {what}", len(places), matrix.rows)
            scale = matrix.scale if name == "int8" and matrix.rows else 1.0
            matrices.append(answers.TokenMatrix(rows, scale, places))
        return answers.TokensEmbedded(
            items=answers.item_info(wire.items, items),
            matrices=tuple(matrices),
            dimensions=wire.dimensions,
            format=name,
            chunk=answers.chunk_info(wire.chunk),
        )

    return Request(SERVICE + "EmbedTokens", message, model, read)


def embed_sparse(
    model: str, inputs: Iterable[Input], options: input_pb2.TextOptions, top_k: int | None
) -> Request[answers.SparseEmbedded]:
    """Sparse vectors."""
    message = pb.EmbedSparseRequest(
        model=model, inputs=inputs_to_wire(inputs, "inputs"), options=options, top_k=count("top_k", top_k)
    )
    items = len(message.inputs)

    def read(data: bytes) -> answers.SparseEmbedded:
        wire = pb.EmbedSparseResponse.FromString(data)
        offsets = np.array(wire.offsets, np.uint32)
        indices = np.array(wire.indices, np.uint32)
        weights = np.array(wire.weights, np.float32)
        expect("offsets", len(offsets), items + 1)
        expect("weights", len(weights), len(indices))
        if offsets[0] != 0 or offsets[-1] != len(indices) or np.any(offsets[1:] < offsets[:-1]):
            raise SortieError.protocol("the answer's offsets do not cover its entries")
        return answers.SparseEmbedded(
            items=answers.item_info(wire.items, items),
            offsets=offsets,
            indices=indices,
            weights=weights,
            chunk=answers.chunk_info(wire.chunk),
        )

    return Request(SERVICE + "EmbedSparse", message, model, read)


def classify(
    model: str, inputs: Iterable[Input], options: input_pb2.TextOptions, activation: Activation | None
) -> Request[answers.Classified]:
    """Scores by label."""
    message = pb.ClassifyRequest(
        model=model, inputs=inputs_to_wire(inputs, "inputs"), options=options, activation=_activation(activation)
    )
    items = len(message.inputs)

    def read(data: bytes) -> answers.Classified:
        wire = pb.ClassifyResponse.FromString(data)
        scores = np.array(wire.scores, np.float32)
        expect("scores", len(scores), items * len(wire.labels))
        return answers.Classified(
            items=answers.item_info(wire.items, items),
            scores=scores.reshape(items, len(wire.labels)),
            labels=tuple(wire.labels),
            activation=word_of(model_pb2.Activation, "ACTIVATION", wire.activation),
            chunk=answers.chunk_info(wire.chunk),
        )

    return Request(SERVICE + "Classify", message, model, read)


def tag(
    model: str,
    inputs: Iterable[Input],
    options: input_pb2.TextOptions,
    aggregation: Aggregation | None,
    token_scores: bool,
    activation: Activation | None,
    ignore_labels: Iterable[str] | None,
    labels: Iterable[str] | None,
    threshold: float | None,
    nested: bool,
    multi_label: bool,
) -> Request[answers.Tagged]:
    """Labelled spans."""
    for name, value in (("ignore_labels", ignore_labels), ("labels", labels)):
        if isinstance(value, str):
            raise TypeError(f"{name} is one text; it must be a list of labels")
    message = pb.TagTokensRequest(
        model=model,
        inputs=inputs_to_wire(inputs, "inputs"),
        options=options,
        aggregation=choice(pb.Aggregation, "AGGREGATION", "aggregation", aggregation),
        per_token_scores=token_scores,
        activation=_activation(activation),
        ignore_labels=ignore_labels,
        labels=labels,
        threshold=threshold,
        nested=nested,
        multi_label=multi_label,
    )
    items = len(message.inputs)
    texts = [_spanned_text(item) for item in message.inputs]

    def read(data: bytes) -> answers.Tagged:
        wire = pb.TagTokensResponse.FromString(data)
        expect("texts", len(wire.texts), items)
        labels = tuple(wire.labels)
        return answers.Tagged(
            items=answers.item_info(wire.items, items),
            texts=tuple(
                _tagged(found, text, len(labels), token_scores) for found, text in zip(wire.texts, texts, strict=True)
            ),
            labels=labels,
            chunk=answers.chunk_info(wire.chunk),
        )

    return Request(SERVICE + "TagTokens", message, model, read)


def similarity(
    model: str, source: Input, texts: Iterable[Input], options: input_pb2.TextOptions
) -> Request[answers.Similarities]:
    """Cosines."""
    message = pb.SimilarityRequest(
        model=model, source=input_to_wire(source, "source"), texts=inputs_to_wire(texts, "texts"), options=options
    )
    items = len(message.texts)

    def read(data: bytes) -> answers.Similarities:
        wire = pb.SimilarityResponse.FromString(data)
        expect("scores", len(wire.scores), items)
        return answers.Similarities(
            items=answers.item_info(wire.items, items),
            scores=np.array(wire.scores, np.float32),
            chunk=answers.chunk_info(wire.chunk),
        )

    return Request(SERVICE + "Similarity", message, model, read)


def tokenize(
    model: str, inputs: Iterable[Input], options: input_pb2.TextOptions, special_tokens: bool
) -> Request[answers.Tokenized]:
    """Token ids and places."""
    message = pb.TokenizeRequest(
        model=model,
        inputs=inputs_to_wire(inputs, "inputs"),
        options=options,
        without_special_tokens=not special_tokens,
    )
    items = len(message.inputs)

    def read(data: bytes) -> answers.Tokenized:
        wire = pb.TokenizeResponse.FromString(data)
        expect("inputs", len(wire.inputs), items)
        return answers.Tokenized(
            items=answers.item_info(wire.items, items), inputs=tuple(_tokenized(found) for found in wire.inputs)
        )

    return Request(SERVICE + "Tokenize", message, model, read)


def detokenize(
    model: str, inputs: Iterable[Sequence[int] | TokenIds], skip_special_tokens: bool
) -> Request[answers.Detokenized]:
    """Texts of token ids."""
    sequences = (ids if isinstance(ids, TokenIds) else TokenIds(_not_text(ids)) for ids in inputs)
    message = pb.DetokenizeRequest(
        model=model, inputs=inputs_to_wire(sequences, "inputs"), skip_special_tokens=skip_special_tokens
    )
    items = len(message.inputs)

    def read(data: bytes) -> answers.Detokenized:
        wire = pb.DetokenizeResponse.FromString(data)
        expect("texts", len(wire.texts), items)
        return answers.Detokenized(items=answers.item_info(wire.items, items), texts=tuple(wire.texts))

    return Request(SERVICE + "Detokenize", message, model, read)


def models() -> Request[list[info.ModelInfo]]:
    """Every model served, in name order."""

    def read(data: bytes) -> list[info.ModelInfo]:
        return [info.model_info(model) for model in pb.ListModelsResponse.FromString(data).models]

    return Request(SERVICE + "ListModels", pb.ListModelsRequest(), "", read)


def model_info(model: str) -> Request[info.ModelInfo]:
    """One model."""

    def read(data: bytes) -> info.ModelInfo:
        return info.model_info(pb.GetModelResponse.FromString(data).model)

    return Request(SERVICE + "GetModel", pb.GetModelRequest(model=model), model, read)


def probe(model: str, tokens: int) -> Request[info.LoadReport]:
    """A model's load."""

    def read(data: bytes) -> info.LoadReport:
        return info.load_report(pb.ProbeResponse.FromString(data))

    return Request(SERVICE + "Probe", pb.ProbeRequest(model=model, tokens=tokens), model, read, once=True)


def health(service: str) -> Request[Health]:
    """Whether the server, or one of its models, takes requests."""

    def read(data: bytes) -> Health:
        status = details_pb2.HealthCheckResponse.FromString(data).status
        names: dict[int, Health] = {1: "serving", 2: "not_serving", 3: "service_unknown"}
        return names.get(status, "unknown")

    message = details_pb2.HealthCheckRequest(service=service)
    return Request("/grpc.health.v1.Health/Check", message, "", read, once=True)


def _activation(word: Activation | None) -> Any:
    return choice(model_pb2.Activation, "ACTIVATION", "activation", word)


def _format(word: answers.VectorFormat | None) -> Any:
    return choice(vector_pb2.VectorFormat, "VECTOR_FORMAT", "format", word)


def _ranges(ranges: answers.Ranges | None) -> pb.Ranges | None:
    if ranges is None:
        return None
    starts, ends = (np.asarray(side, np.float32) for side in (ranges.starts, ranges.ends))
    if starts.ndim != 1 or starts.shape != ends.shape:
        message = f"ranges have shapes {starts.shape} and {ends.shape}; both must be (dimensions,)"
        raise SortieError.invalid("ranges", "BAD_FIELD", message)
    return pb.Ranges(starts=starts.tolist(), ends=ends.tolist())


def _not_text(ids: Sequence[int]) -> Sequence[int]:
    if isinstance(ids, (str, bytes)):
        raise TypeError("detokenize takes lists of token ids, not texts")
    return ids


def _spanned_text(item: input_pb2.Input) -> str:
    """The text whose spans are told."""
    return item.pair.first if item.HasField("pair") else item.text


def _tagged(wire: pb.TaggedText, text: str, labels: int, token_scores: bool) -> answers.TaggedText:
    # Characters that begin before each byte of the text; none where characters are bytes.
    begun = None
    if wire.spans and not text.isascii():
        first_bytes = (np.frombuffer(text.encode(), np.uint8) & 0xC0) != 0x80
        begun = np.concatenate([[0], np.cumsum(first_bytes)])

    def character(byte: int) -> int:
        return byte if begun is None else int(begun[min(byte, len(begun) - 1)])

    spans = tuple(
        answers.Span(span.label, character(span.start), character(span.end), span.start, span.end, span.score)
        for span in wire.spans
    )
    rows = None
    if token_scores:
        flat = np.array(wire.token_scores, np.float32)
        if labels == 0 or len(flat) % labels != 0:
            raise SortieError.protocol(f"the answer has {len(flat)} token scores of {labels} labels")
        rows = flat.reshape(-1, labels)
    return answers.TaggedText(spans, rows)


def _tokenized(wire: pb.TokenizedInput) -> answers.TokenizedInput:
    expect("segments", len(wire.type_ids), len(wire.ids))
    expect("tokens", len(wire.tokens), len(wire.ids))
    expect("starts", len(wire.starts), len(wire.ids))
    expect("ends", len(wire.ends), len(wire.ids))
    expect("special flags", len(wire.special), len(wire.ids))
    return answers.TokenizedInput(
        ids=np.array(wire.ids, np.uint32),
        type_ids=np.array(wire.type_ids, np.uint32),
        tokens=tuple(wire.tokens),
        byte_starts=np.array(wire.starts, np.uint32),
        byte_ends=np.array(wire.ends, np.uint32),
        special=np.array(wire.special, np.bool_),
    )
