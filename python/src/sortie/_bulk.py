"""Bulk work: an iterable of inputs of any length, in bounded memory, behind everybody else's.

Inputs are read as fast as they are answered and cut into consecutive *slices* of about one device batch. So many slices
are under way that servers stay busy, in the bulk lane; a server that refuses for load halves how many, answers raise it
again. A slice that fails for a passing reason is sent again. Nothing here sends anything: this is what both runs share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .answers import Answer
from .errors import SortieError
from .info import LoadReport
from .inputs import Input, size_of

T = TypeVar("T")

BULK_TIMEOUT = 120.0
"""Seconds that a slice has: one batch takes seconds at most, and may stand behind interactive work for long."""

BULK_GIVE_UP_AFTER = 600.0
"""Seconds without any answer after which a run ends with an error: a server that restarts is back sooner."""

PROBE_TIMEOUT = 2.0
"""Seconds that the server has to say what it takes before a run begins: a connection and an answer."""

BULK_IN_FLIGHT = 4
"""Slices under way: one on the device and one behind it, for two servers behind one address."""

HELD_PER_SLICE = 2
"""Answers that wait for an earlier one, for each slice that may be under way."""

MAX_SLICE_BYTES = 4 << 20
"""Most bytes of text in a slice: a request, its copy for the wire and its answer stay small beside a program's memory."""

ASSUMED_BATCH_TOKENS = 2_048
"""Tokens of a slice where the server does not say what a batch holds: what keeps a processor busy."""

ASSUMED_MAX_ITEMS = 10_000
"""Items of a slice where the server does not say how many a request holds: the servers' default."""

ASSUMED_TOKEN_BYTES = 4.0
"""Bytes of a token until some were answered: English text's."""

HALF_LIFE_BYTES = float(1 << 20)
"""Bytes of answered text after which what was learnt before counts half."""

MIN_BACKOFF = 0.01
"""Shortest wait before a slice is sent again, seconds."""

BACKOFF = (0.25, 10.0)
"""First and longest wait where the server does not say how long, seconds: nobody waits."""

ROUND = 1.0
"""Least seconds between two halvings: slices sent before the first are still coming back."""


@dataclass(frozen=True, eq=False)
class Slice(Generic[T]):
    """The answer to consecutive inputs."""

    start: int
    """Place of its first input in the whole input, from 0."""
    inputs: list[Input]
    """The inputs."""
    answer: T
    """The answer; its lists are in input order."""

    @property
    def end(self) -> int:
        """One past its last input: where a run that goes on after it starts (``resume_at``)."""
        return self.start + len(self.inputs)


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    read: int
    """Inputs that were read, those read past included."""
    given: int
    """Inputs whose answer was given."""
    resume_at: int
    """Every input before this one was given."""
    again: int
    """Times that a slice was sent again."""


@dataclass(frozen=True)
class BulkSettings:
    """What a run is set up with."""

    resume_at: int
    slice_tokens: int | None
    slice_bytes: int
    in_flight: int
    timeout: float
    give_up_after: float

    def __post_init__(self) -> None:
        for name, least in (
            ("resume_at", 0),
            ("slice_bytes", 1),
            ("in_flight", 1),
            ("timeout", 0),
            ("give_up_after", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it is at least {least}")
        if self.slice_tokens is not None and self.slice_tokens < 1:
            raise ValueError(f"slice_tokens is {self.slice_tokens}; it is at least 1")


class Cutter:
    """Cuts inputs into slices by tokens, bytes and items."""

    def __init__(self, settings: BulkSettings, load: LoadReport | None) -> None:
        limits = load.limits if load else None
        self._tokens = settings.slice_tokens or (limits.max_batch_tokens if limits else 0) or ASSUMED_BATCH_TOKENS
        self._items = (limits.max_items if limits else 0) or ASSUMED_MAX_ITEMS
        self._bytes = settings.slice_bytes
        self._token_bytes = Ratio()
        self._inputs: list[Input] = []
        self._size = (0.0, 0)
        self.start = settings.resume_at

    def push(self, item: Input) -> tuple[int, list[Input]] | None:
        """Adds an input; gives the slice before it where that is full without it."""
        size, ids = size_of(item)
        tokens = ids + size / self._token_bytes.value
        held_tokens, held_bytes = self._size
        full = (
            len(self._inputs) >= self._items or held_tokens + tokens > self._tokens or held_bytes + size > self._bytes
        )
        slice_ = self.take() if full else None
        held_tokens, held_bytes = self._size
        self._inputs.append(item)
        self._size = (held_tokens + tokens, held_bytes + size)
        return slice_

    def take(self) -> tuple[int, list[Input]] | None:
        """The slice so far, where there is one."""
        if not self._inputs:
            return None
        slice_ = (self.start, self._inputs)
        self.start += len(self._inputs)
        self._inputs, self._size = [], (0.0, 0)
        return slice_

    def answered(self, inputs: Iterable[Input], answer: object) -> None:
        """Learns how many bytes a token has."""
        if isinstance(answer, Answer):
            texts = sum(size for size, ids in map(size_of, inputs) if not ids)
            self._token_bytes.record(texts, int(answer.items.tokens.sum()))


@dataclass
class Ratio:
    """Bytes of a token, most of it from the last answers."""

    sums: tuple[float, float] = (0.0, 0.0)

    @property
    def value(self) -> float:
        """Bytes of a token."""
        size, tokens = self.sums
        return size / tokens if tokens > 0 and size > 0 else ASSUMED_TOKEN_BYTES

    def record(self, size: int, tokens: int) -> None:
        """Adds what was answered."""
        keep = 0.5 ** (size / HALF_LIFE_BYTES)
        self.sums = (self.sums[0] * keep + size, self.sums[1] * keep + tokens)


@dataclass
class Window:
    """How many slices are under way: additive increase, multiplicative decrease, between one and ``most``."""

    most: int
    size: float = field(init=False)
    halved: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self.size = float(self.most)

    @property
    def slices(self) -> int:
        """Slices that may be under way."""
        return min(max(int(self.size), 1), self.most)

    def answered(self) -> None:
        """One was answered: by one more a round."""
        self.size = min(self.size + 1.0 / self.size, float(self.most))

    def overloaded(self, now: float) -> None:
        """The server refused for load; refusals that come together are one overload."""
        if now - self.halved >= ROUND:
            self.halved = now
            self.size = max(self.size / 2.0, 1.0)


@dataclass
class RunState:
    """What slices of a run share. Used under a lock, or by one thread."""

    window: Window
    give_up_after: float
    success: float
    """When a slice last succeeded, or the run began."""
    again: int = 0

    def answered(self, now: float) -> None:
        """A slice was answered."""
        self.window.answered()
        self.success = now

    def pause(self, error: SortieError, failures: int, now: float) -> float | None:
        """Seconds until a slice that failed so many times is sent again; ``None`` where it is not."""
        if error.code == "RESOURCE_EXHAUSTED":
            self.window.overloaded(now)
        # A slice that the server had no time for has a new deadline the next time.
        passing = error.retryable or error.code in ("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
        if not passing or now - self.success >= self.give_up_after:
            return None
        self.again += 1
        base, limit = BACKOFF
        wait = error.retry_after if error.retry_after is not None else base * 2.0 ** min(failures - 1, 16)
        return min(max(wait, MIN_BACKOFF), limit)
