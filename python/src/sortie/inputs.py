"""What callers send: texts, pairs of texts, ready token ids, kept token vectors, and how texts become tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .errors import SortieError
from .v1 import input_pb2, vector_pb2

if TYPE_CHECKING:
    from .answers import TokenMatrix, VectorFormat

Truncation: TypeAlias = Literal["document_only", "longest_first", "error"]
"""What gives way when a sequence is too long: the end of the document, of the longer side, or nothing (an item error)."""

TruncationSide: TypeAlias = Literal["left", "right"]
"""Which end of a text is cut off."""

Role: TypeAlias = Literal["query", "document"]
"""What a text is for: some models read queries and documents apart."""

WindowScore: TypeAlias = Literal["max", "first", "mean"]
"""How the scores of a document's windows become its score."""


@dataclass(frozen=True)
class TokenIds:
    """A sequence that the caller tokenized.

    Where an input stands alone the ids are used as they are, so they hold their special tokens. In rerank and
    similarity they are pieces without special tokens, which the server joins by the model's template.
    """

    ids: Sequence[int]
    """Vocabulary ids, in order."""
    type_ids: Sequence[int] = ()
    """Segment of each id; empty means all zero, else as long as ``ids``."""


@dataclass(frozen=True, eq=False)
class TokenVectors:
    """A document of rerank by a late-interaction model: its token vectors, as ``embed_tokens`` gave them."""

    matrix: TokenMatrix
    """The rows."""
    dimensions: int
    """Numbers in a row."""
    format: VectorFormat
    """``f32``, ``f16`` or ``int8``; bits have lost their sizes and are refused."""


Input: TypeAlias = "str | tuple[str, str] | TokenIds | TokenVectors"
"""One thing to encode: a text, a pair of texts read together, ready ids, or (as a document only) token vectors."""


@dataclass(frozen=True)
class Windows:
    """Reads a text that is too long in windows, in place of cutting it; at most 1,024 a text."""

    stride: int = 0
    """Tokens that neighbouring windows share; fewer than a window holds."""
    score: WindowScore | None = field(default=None)
    """What becomes of the windows' scores; ``None`` is ``max``. Rerank only."""


def windows_to_wire(windows: Windows | None) -> input_pb2.Windows | None:
    """The message of windows, where there are any."""
    if windows is None:
        return None
    score = choice(input_pb2.WindowScore, "WINDOW_SCORE", "windows.score", windows.score)
    return input_pb2.Windows(stride=windows.stride, score=score)


def text_options(
    *,
    truncation: Truncation | None,
    truncation_side: TruncationSide | None,
    max_length: int | None,
    role: Role | None,
    prompt: str | None,
    prompt_name: str | None,
    plain_text: bool,
) -> input_pb2.TextOptions:
    """The message of text options."""
    return input_pb2.TextOptions(
        truncation=choice(input_pb2.Truncation, "TRUNCATION", "truncation", truncation),
        truncation_side=choice(input_pb2.TruncationSide, "TRUNCATION_SIDE", "truncation_side", truncation_side),
        max_length=count("max_length", max_length),
        role=choice(input_pb2.Role, "ROLE", "role", role),
        prompt=prompt or "",
        prompt_name=prompt_name or "",
        plain_text=plain_text,
    )


def choice(enum: Any, prefix: str, field_name: str, word: str | None) -> Any:
    """The number of a word of an enum; nothing is its zero."""
    if word is None:
        return 0
    names: list[str] = enum.keys()
    words = {name[len(prefix) + 1 :].lower(): name for name in names if not name.endswith("_UNSPECIFIED")}
    if word not in words:
        known = ", ".join(repr(known) for known in words)
        raise SortieError.invalid(field_name, "BAD_FIELD", f"{field_name} is {word!r}; it may be {known}")
    return enum.Value(words[word])


def word_of(enum: Any, prefix: str, number: int) -> Any:
    """The word of an enum's number; its zero is nothing, and a number of a later release is told as it is."""
    if number == 0:
        return None
    if number not in enum.values():
        return str(number)
    return enum.Name(number)[len(prefix) + 1 :].lower()


def count(field_name: str, value: int | None) -> int:
    """A number of 32 bits that is not negative; nothing is 0, and 0 is refused, for on the wire it says nothing."""
    if value is None:
        return 0
    if isinstance(value, bool) or value != int(value) or not 1 <= value < 2**32:
        raise SortieError.invalid(
            field_name, "BAD_FIELD", f"{field_name} is {value!r}; it is at least 1 and a whole number"
        )
    return int(value)


def inputs_to_wire(items: Iterable[Input], field_name: str) -> list[input_pb2.Input]:
    """Many inputs as they are sent."""
    if isinstance(items, (str, bytes)):
        raise TypeError(f"{field_name} is one text; it must be a list of texts")
    return [input_to_wire(item, f"{field_name}[{index}]") for index, item in enumerate(items)]


def input_to_wire(item: Input, field_name: str) -> input_pb2.Input:
    """One input as it is sent."""
    if isinstance(item, str):
        return input_pb2.Input(text=_utf8(item, field_name))
    if isinstance(item, TokenIds):
        try:
            tokens = input_pb2.TokenIds(ids=map(int, item.ids), type_ids=map(int, item.type_ids))
        except ValueError as error:
            raise SortieError.invalid(field_name, "BAD_TOKEN_IDS", f"{field_name}: {error}") from None
        return input_pb2.Input(tokens=tokens)
    if isinstance(item, TokenVectors):
        return input_pb2.Input(vectors=_vectors_to_wire(item, field_name))
    if isinstance(item, tuple) and len(item) == 2 and all(isinstance(text, str) for text in item):
        first, second = (_utf8(text, field_name) for text in item)
        return input_pb2.Input(pair=input_pb2.TextPair(first=first, second=second))
    raise TypeError(
        f"{field_name} is of type {type(item).__name__}; it must be a str, a pair of str, TokenIds or TokenVectors"
    )


def size_of(item: Input) -> tuple[int, int]:
    """Bytes of text and number of ready ids of an input."""
    if isinstance(item, str):
        return _utf8_length(item), 0
    if isinstance(item, TokenIds):
        return 0, len(item.ids)
    if isinstance(item, TokenVectors):
        return item.matrix.vectors.nbytes, 0
    return sum(_utf8_length(text) for text in item), 0


def _utf8_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _utf8(text: str, field_name: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            message = f"{field_name} is not Unicode text: a lone surrogate at {error.start}"
            raise SortieError.invalid(field_name, "UNDECODABLE", message) from None
    return str(text)


def _vectors_to_wire(item: TokenVectors, field_name: str) -> input_pb2.TokenVectors:
    matrix = item.matrix
    number = choice(vector_pb2.VectorFormat, "VECTOR_FORMAT", f"{field_name}.format", item.format)
    wire = vector_pb2.TokenMatrix(rows=matrix.rows, vectors=matrix.vectors.tobytes(), scale=matrix.scale)
    return input_pb2.TokenVectors(dimensions=item.dimensions, format=number, matrix=wire)
