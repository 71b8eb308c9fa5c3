"""What calls answer: numbers in NumPy's arrays, and per item and per request what happened.

Vectors are views on the answer's bytes, without a copy, and therefore read-only: ``array.copy()`` may be written to.
All lists are in request order. An item that failed is in ``items.errors``; its numbers are NaN (bytes and bits: 0).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import SortieError
from .v1 import result_pb2, vector_pb2

VectorFormat: TypeAlias = Literal["f32", "f16", "int8", "uint8", "binary", "ubinary"]
"""Number format of vectors. ``int8`` and ``uint8`` are a byte a number by ranges, ``binary`` and ``ubinary`` a bit."""

Scoring: TypeAlias = Literal["cross_encoder", "cosine", "logit_difference", "maxsim", "mean_maxsim"]
"""How scores came about."""

Floats: TypeAlias = npt.NDArray[np.float32]
"""Numbers of 32 bits."""

Vectors: TypeAlias = npt.NDArray[Any]
"""Numbers of the format that was asked for: float32, float16, int8 or uint8."""

DTYPES: dict[str, np.dtype[Any]] = {
    "f32": np.dtype("<f4"),
    "f16": np.dtype("<f2"),
    "int8": np.dtype("i1"),
    "uint8": np.dtype("u1"),
    "binary": np.dtype("i1"),
    "ubinary": np.dtype("u1"),
}
"""NumPy's type of each format."""

FORMATS: dict[int, VectorFormat] = {
    vector_pb2.VECTOR_FORMAT_UNSPECIFIED: "f32",
    vector_pb2.VECTOR_FORMAT_F32: "f32",
    vector_pb2.VECTOR_FORMAT_F16: "f16",
    vector_pb2.VECTOR_FORMAT_INT8: "int8",
    vector_pb2.VECTOR_FORMAT_UINT8: "uint8",
    vector_pb2.VECTOR_FORMAT_BINARY: "binary",
    vector_pb2.VECTOR_FORMAT_UBINARY: "ubinary",
}
"""Formats by their numbers on the wire."""


@dataclass(frozen=True)
class ItemError:
    """One item that could not be answered; the others are."""

    index: int
    """Its place in the request, from 0."""
    reason: str
    """A stable word: ``TOO_LONG``, ``NON_FINITE_OUTPUT`` (docs/errors.md)."""
    message: str
    """A sentence for people."""


@dataclass(frozen=True, eq=False)
class ItemInfo:
    """Per-item facts."""

    tokens: npt.NDArray[np.uint32]
    """Tokens each item used, specials included, shape (items,); 0 for one that failed."""
    truncated: npt.NDArray[np.bool_]
    """Whether each was cut to fit, shape (items,)."""
    errors: tuple[ItemError, ...]
    """The items that failed."""
    windows: npt.NDArray[np.uint32] | None
    """How many windows each was read in, shape (items,); ``None`` where none were asked for."""


@dataclass(frozen=True, eq=False)
class ChunkInfo:
    """Where the time of a request went, and what served it."""

    model: str
    """Name of the model that answered."""
    model_revision: str
    """Digest of its files, or the hub's commit."""
    replica: str
    """Name of the server process."""
    job_id: str
    """The job's id, as sent."""
    tokenize_us: int
    """Microseconds spent making token ids."""
    queue_us: int
    """Microseconds that the first item waited for a batch."""
    compute_us: int
    """Microseconds that its batches took on the device, summed."""
    total_us: int
    """Microseconds from the request's arrival to its answer."""
    batch_ms: Floats
    """Milliseconds of each batch it was in."""
    batch_tokens: npt.NDArray[np.uint32]
    """Tokens of each of those batches, others' included."""
    batch_work: npt.NDArray[np.uint32]
    """The work that they were, in tokens: a long text counts more than it has."""
    tokens: int
    """Tokens of this request alone."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What every answer has."""

    items: ItemInfo
    """Per-item facts."""

    @property
    def errors(self) -> tuple[ItemError, ...]:
        """The items that failed; empty where all are answered."""
        return self.items.errors

    def raise_for_errors(self) -> None:
        """Raises a :class:`SortieError` that names the first item that failed, if one did."""
        if self.errors:
            first = self.errors[0]
            more = f", and {len(self.errors) - 1} more" if len(self.errors) > 1 else ""
            message = f"item {first.index}: {first.message}{more}"
            raise SortieError("INVALID_ARGUMENT", message, reason=first.reason, facts={"index": str(first.index)})


@dataclass(frozen=True, eq=False)
class Reranked(Answer):
    """Scores of documents."""

    scores: Floats
    """One a document, shape (documents,); NaN where it failed. What they mean says ``scoring``."""
    order: npt.NDArray[np.uint32]
    """Places of the best ``top_n`` documents, best first; failed ones never. Empty where ``top_n`` was not asked for."""
    scoring: Scoring | None
    """How they came about; ``None`` where no document was scored."""
    query_truncated: bool
    """The query was cut on its own: a late-interaction model gives queries a length."""
    chunk: ChunkInfo
    """Where the time went."""

    def ranking(self) -> npt.NDArray[np.intp]:
        """Places of all documents, best first, equal scores in request order; failed ones never."""
        order = np.argsort(-self.scores, kind="stable")
        return order[~np.isnan(self.scores[order])]


@dataclass(frozen=True, eq=False)
class Ranges:
    """The least and the largest number of each dimension, for ``int8`` and ``uint8``."""

    starts: npt.ArrayLike
    """Least, shape (dimensions,)."""
    ends: npt.ArrayLike
    """Largest, shape (dimensions,); not below its start."""


@dataclass(frozen=True, eq=False)
class Embedded(Answer):
    """Dense vectors."""

    vectors: Vectors
    """Shape (inputs, dimensions), of bits (inputs, dimensions / 8, rounded up). Read-only. A failed row is NaN, in
    formats of bytes and bits 0."""
    dimensions: int
    """Numbers in a row."""
    format: VectorFormat
    """Number format of the rows."""
    ranges: Ranges | None
    """The ranges that ``int8`` and ``uint8`` were made with."""
    chunk: ChunkInfo
    """Where the time went."""


@dataclass(frozen=True, eq=False)
class TokenMatrix:
    """The vectors of one input's tokens."""

    vectors: Vectors
    """Shape (rows, dimensions), of ``ubinary`` (rows, dimensions / 8, rounded up). Read-only; without rows where the
    input failed."""
    scale: float
    """Of ``int8``: what a number is multiplied by. 1 where the input has no rows."""
    places: npt.NDArray[np.uint32] | None
    """Place of each row's token in its sequence, shape (rows,), if asked for."""

    @property
    def rows(self) -> int:
        """Vectors."""
        return int(self.vectors.shape[0])

    def floats(self) -> Floats:
        """The numbers as float32, of ``int8`` multiplied by the scale. (Bits have lost their sizes.)"""
        if self.vectors.dtype == np.uint8:
            raise ValueError("vectors of bits have no numbers; ask for f32, f16 or int8")
        floats: Floats = self.vectors.astype(np.float32)
        return floats * np.float32(self.scale) if self.vectors.dtype == np.int8 else floats


@dataclass(frozen=True, eq=False)
class TokensEmbedded(Answer):
    """One vector a token."""

    matrices: tuple[TokenMatrix, ...]
    """One an input."""
    dimensions: int
    """Numbers in a row."""
    format: VectorFormat
    """Number format of the rows: ``f32``, ``f16``, ``int8`` or ``ubinary``."""
    chunk: ChunkInfo
    """Where the time went."""


@dataclass(frozen=True, eq=False)
class SparseEmbedded(Answer):
    """Sparse vectors, in compressed rows.

    They are what ``scipy.sparse.csr_matrix((weights, indices, offsets))`` takes.
    """

    offsets: npt.NDArray[np.uint32]
    """Where each input's entries start, shape (inputs + 1,)."""
    indices: npt.NDArray[np.uint32]
    """Vocabulary ids, ascending within an input, shape (entries,)."""
    weights: Floats
    """Weight of each, above zero, shape (entries,)."""
    chunk: ChunkInfo
    """Where the time went."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint32], Floats]:
        """Ids and weights of one input; empty where it failed."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"input {index} of {len(self)}")
        row = index % len(self)
        span = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        return self.indices[span], self.weights[span]

    def __iter__(self) -> Iterator[tuple[npt.NDArray[np.uint32], Floats]]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True, eq=False)
class Classified(Answer):
    """Scores by label."""

    scores: Floats
    """Shape (inputs, labels); a failed row is NaN."""
    labels: tuple[str, ...]
    """Labels, in score order."""
    activation: str | None
    """What was done to the logits: ``raw``, ``sigmoid`` or ``softmax``."""
    chunk: ChunkInfo
    """Where the time went."""


@dataclass(frozen=True)
class Span:
    """A stretch of text with a label."""

    label: str
    """Without its ``B-`` or ``I-`` where spans are joined."""
    start: int
    """Its first character in the text, as Python counts them: ``text[start:end]``."""
    end: int
    """One past its last character."""
    byte_start: int
    """Its first byte in the UTF-8 text, as the wire counts."""
    byte_end: int
    """One past its last byte."""
    score: float
    """The label's score: the mean over what was joined."""


@dataclass(frozen=True, eq=False)
class TaggedText:
    """What was found in one text."""

    spans: tuple[Span, ...]
    """In text order; of a pair, in its first text."""
    token_scores: Floats | None
    """Shape (tokens, labels), special tokens included, if asked for."""


@dataclass(frozen=True, eq=False)
class Tagged(Answer):
    """What was found."""

    texts: tuple[TaggedText, ...]
    """One an input; empty where it failed."""
    labels: tuple[str, ...]
    """Labels, in the order of token scores."""
    chunk: ChunkInfo
    """Where the time went."""


@dataclass(frozen=True, eq=False)
class Similarities(Answer):
    """Cosines."""

    scores: Floats
    """One a text, -1 to 1, shape (texts,); NaN where it failed. The source is not counted among the items."""
    chunk: ChunkInfo
    """Where the time went."""


@dataclass(frozen=True, eq=False)
class TokenizedInput:
    """One tokenized input; all of shape (tokens,)."""

    ids: npt.NDArray[np.uint32]
    """Vocabulary ids."""
    type_ids: npt.NDArray[np.uint32]
    """Segments."""
    tokens: tuple[str, ...]
    """Vocabulary entries."""
    byte_starts: npt.NDArray[np.uint32]
    """First byte of each token in its UTF-8 text."""
    byte_ends: npt.NDArray[np.uint32]
    """One past each token's last byte; equal to its start for special tokens."""
    special: npt.NDArray[np.bool_]
    """Whether each is a special one."""


@dataclass(frozen=True, eq=False)
class Tokenized(Answer):
    """Tokenized inputs."""

    inputs: tuple[TokenizedInput, ...]
    """One an input; empty where it failed."""


@dataclass(frozen=True, eq=False)
class Detokenized(Answer):
    """Texts of token ids."""

    texts: tuple[str, ...]
    """One an input; empty where it failed."""


def item_info(wire: result_pb2.ItemInfo, count: int) -> ItemInfo:
    """Per-item facts as they came, for ``count`` items."""
    expect("items.tokens", len(wire.tokens), count)
    expect("items.truncated", len(wire.truncated), count)
    if wire.windows:
        expect("items.windows", len(wire.windows), count)
    if any(error.index >= count for error in wire.errors):
        raise SortieError.protocol(f"the answer has an error of an item beyond the {count} that were sent")
    return ItemInfo(
        tokens=np.array(wire.tokens, np.uint32),
        truncated=np.array(wire.truncated, np.bool_),
        errors=tuple(ItemError(error.index, error.reason, error.message) for error in wire.errors),
        windows=np.array(wire.windows, np.uint32) if wire.windows else None,
    )


def chunk_info(wire: result_pb2.ChunkInfo) -> ChunkInfo:
    """Where the time went, as it came."""
    return ChunkInfo(
        model=wire.model,
        model_revision=wire.model_revision,
        replica=wire.replica,
        job_id=wire.job_id,
        tokenize_us=wire.tokenize_us,
        queue_us=wire.queue_us,
        compute_us=wire.compute_us,
        total_us=wire.total_us,
        batch_ms=np.array(wire.batch_ms, np.float32),
        batch_tokens=np.array(wire.batch_tokens, np.uint32),
        batch_work=np.array(wire.batch_work, np.uint32),
        tokens=wire.tokens,
    )


def rows_of(what: str, data: bytes, rows: int, dimensions: int, name: VectorFormat) -> Vectors:
    """``rows`` rows of ``dimensions`` numbers, as a view on their bytes."""
    width = -(-dimensions // 8) if name in ("binary", "ubinary") else dimensions
    dtype = DTYPES[name]
    expect(f"bytes of {what}", len(data), rows * width * dtype.itemsize)
    return np.frombuffer(data, dtype).reshape(rows, width)


def format_of(number: int) -> VectorFormat:
    """The word of a format's number."""
    if number not in FORMATS:
        raise SortieError.protocol(f"the answer has vectors in a format that this release does not know: {number}")
    return FORMATS[number]


def expect(what: str, found: int, wanted: int) -> None:
    """Holds a length against what it must be."""
    if found != wanted:
        raise SortieError.protocol(f"the answer has {found} {what}, expected {wanted}")
