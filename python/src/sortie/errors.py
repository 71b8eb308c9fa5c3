"""The one error of this package: what went wrong, whether to come again, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError

from ._wire import details_pb2

PUSHBACK = "grpc-retry-pushback-ms"
"""Trailer that says when to come again, in milliseconds, or that one shall not (gRFC A6)."""

DETAILS = "grpc-status-details-bin"
"""Trailer with google.rpc.Status."""

M = TypeVar("M", details_pb2.ErrorInfo, details_pb2.BadRequest, details_pb2.RetryInfo)


@dataclass(frozen=True)
class FieldViolation:
    """One field of a request that was refused."""

    field: str
    """The field, as the contract names it: ``documents[3]``, ``options.max_length``."""
    description: str
    """What is wrong with it."""


class SortieError(Exception):
    """Why a call failed.

    ``str()`` of it is a sentence for people, which may change in any release; programs read the attributes.
    """

    code: str
    """gRPC's code by name: ``RESOURCE_EXHAUSTED``. What is refused before it is sent has the server's code for it."""
    message: str
    """The sentence."""
    reason: str
    """A stable word: ``QUEUE_FULL`` (docs/errors.md lists the servers'); the code where a server says none."""
    violations: tuple[FieldViolation, ...]
    """Fields that were refused."""
    facts: Mapping[str, str]
    """Figures behind the sentence, limits among them, by name."""
    retry_after: float | None
    """Seconds after which the server asks to come again; ``None`` where it says nothing, or "not again"."""
    retryable: bool
    """Whether the same call may succeed later, unchanged. A spent timeout is not: its caller knows whether there is more
    time."""
    attempts: int
    """Attempts that were made; 0 where nothing was sent."""
    details: tuple[tuple[str, bytes], ...]
    """Every detail as it was sent: type (``google.rpc.ErrorInfo``) and message."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        reason: str | None = None,
        violations: Sequence[FieldViolation] = (),
        facts: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        retryable: bool = False,
        attempts: int = 0,
        details: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or code
        self.violations = tuple(violations)
        self.facts = dict(facts or {})
        self.retry_after = retry_after
        self.retryable = retryable
        self.attempts = attempts
        self.details = tuple(details)

    @property
    def field(self) -> str | None:
        """The first field that was refused, where one was."""
        return self.violations[0].field if self.violations else None

    def __str__(self) -> str:
        return f"{self.message} ({self.reason})"

    def __reduce__(self) -> tuple[Callable[..., SortieError], tuple[type[SortieError], dict[str, object]]]:
        # Errors cross processes in every engine.
        state = {name: getattr(self, name) for name in (*_PLAIN, "code", "message")}
        return _rebuild, (type(self), state)

    @classmethod
    def invalid(cls, field: str, reason: str, description: str) -> SortieError:
        """A refusal made here, in the words that the server would use."""
        return cls("INVALID_ARGUMENT", description, reason=reason, violations=[FieldViolation(field, description)])

    @classmethod
    def protocol(cls, message: str) -> SortieError:
        """An answer that does not fit the question."""
        return cls("INTERNAL", message, reason="PROTOCOL")


_PLAIN = ("reason", "violations", "facts", "retry_after", "retryable", "attempts", "details")


def _rebuild(kind: type[SortieError], state: dict[str, object]) -> SortieError:
    return kind(**state)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Pushback:
    """What a server says of coming again."""

    seconds: float | None
    """After so long; ``None`` is never."""


@dataclass(frozen=True)
class Failure:
    """A failed attempt: its error, and what decides whether another is made."""

    error: SortieError
    pushback: Pushback | None
    """What the server said, if anything."""
    died: bool
    """The connection or the stream broke: the server knows nothing of this failure."""


def failure_of(status: grpc.StatusCode, words: str, trailers: Sequence[tuple[str, str | bytes]]) -> Failure:
    """What a status means. ``words`` are its own; ``trailers`` are what came with it."""
    values: dict[str, str | bytes] = dict(trailers)
    pushback = _pushback(values.get(PUSHBACK))
    details = _details(values.get(DETAILS))
    info = _detail(details, "google.rpc.ErrorInfo", details_pb2.ErrorInfo)
    bad = _detail(details, "google.rpc.BadRequest", details_pb2.BadRequest)
    retry = _detail(details, "google.rpc.RetryInfo", details_pb2.RetryInfo)
    code = status.name
    if code == "RESOURCE_EXHAUSTED" and pushback is None and not details and "message larger than max" in words:
        # gRPC's own limit, at either end: to ask again would end so again.
        return Failure(SortieError("OUT_OF_RANGE", words, reason="MESSAGE_TOO_LARGE"), None, died=False)
    died = not details and pushback is None and _died(code, words)
    if died:
        code = "UNAVAILABLE"
    retry_after = None
    if pushback is not None:
        retry_after = pushback.seconds
    elif retry is not None and retry.HasField("retry_delay"):
        retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    never = pushback is not None and pushback.seconds is None
    error = SortieError(
        code,
        f"the connection failed: {words}" if died else words or code,
        reason=info.reason if info else None,
        violations=[FieldViolation(v.field, v.description) for v in bad.field_violations] if bad else (),
        facts=dict(info.metadata) if info else None,
        retry_after=retry_after,
        retryable=code in ("RESOURCE_EXHAUSTED", "UNAVAILABLE") and not never,
        details=details,
    )
    return Failure(error, pushback, died)


def _died(code: str, words: str) -> bool:
    """Whether a status without details was made of a broken connection. gRPC's library says UNAVAILABLE of most, and
    of a stream that was reset the code that its number stands for.
    """
    return code == "UNAVAILABLE" or "RST_STREAM" in words or words == "Stream removed"


def _pushback(value: str | bytes | None) -> Pushback | None:
    """A wait, or a negative or unreadable number for "do not come again"."""
    if value is None:
        return None
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return Pushback(int(text) / 1e3 if text.isascii() and text.isdigit() else None)


def _details(value: str | bytes | None) -> tuple[tuple[str, bytes], ...]:
    if not isinstance(value, bytes):
        return ()
    try:
        status = details_pb2.Status.FromString(value)
    except DecodeError:
        return ()
    return tuple((detail.type_url.rpartition("/")[2], detail.value) for detail in status.details)


def _detail(details: Sequence[tuple[str, bytes]], name: str, kind: type[M]) -> M | None:
    for found, value in details:
        if found == name:
            try:
                return kind.FromString(value)
            except DecodeError:
                return None
    return None
