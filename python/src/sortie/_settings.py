"""What a client is set up with: address, credentials, channel options, and the metadata of each attempt."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import grpc

from ._retry import Lane, Retries
from .errors import SortieError

DEFAULT_TIMEOUT = 60.0
"""Seconds of a call that sets no timeout: long enough for a large request on one small server, short enough that who
forgot to set one does not wait for ever."""

DEFAULT_MAX_MESSAGE_BYTES = 64 << 20
"""Longest message either way: what a server takes by default."""

DEFAULT_KEEPALIVE = 10.0
"""Seconds between pings of a connection with calls on it: the least that gRPC allows a client (gRFC A8)."""

DEFAULT_KEEPALIVE_TIMEOUT = 5.0
"""Seconds that a ping may go unanswered before its connection counts as lost."""

MAX_VALUE_BYTES = 128
"""Longest job id, tenant or trace context: servers copy them into answers and log lines."""

CONNECT_TIMEOUT_MS = 1_000
"""Milliseconds to make a connection: within a data centre a second is thousands of round trips."""

RECONNECT_MS = (100, 2_000)
"""First and longest wait before a connection that broke is made again, milliseconds. gRPC's own, up to two minutes, would
outlast every retry."""

Metadata: TypeAlias = Sequence[tuple[str, "str | bytes"]]
"""Names and values that go with a call."""


@dataclass(frozen=True)
class Tls:
    """How the server is known, and how it knows us. PEM, as bytes or as the path of a file."""

    ca: bytes | str | os.PathLike[str] | None = None
    """Authorities that the server's certificate is held against; ``None`` takes those that gRPC comes with."""
    certificate: bytes | str | os.PathLike[str] | None = None
    """Our certificate chain, for mutual TLS."""
    key: bytes | str | os.PathLike[str] | None = field(default=None, repr=False)
    """Our private key, for mutual TLS."""
    server_name: str | None = None
    """Name that the server's certificate is held against; ``None`` takes the address's."""

    def credentials(self) -> grpc.ChannelCredentials:
        """As gRPC takes them."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("tls: certificate and key go together")
        ca, key, chain = (_pem(what) for what in (self.ca, self.key, self.certificate))
        return grpc.ssl_channel_credentials(ca, key, chain)


def _pem(what: bytes | str | os.PathLike[str] | None) -> bytes | None:
    if what is None or isinstance(what, bytes):
        return what
    with open(what, "rb") as file:
        return file.read()


@dataclass(frozen=True)
class Settings:
    """All that a client is set up with."""

    address: str
    model: str = ""
    timeout: float = DEFAULT_TIMEOUT
    lane: Lane = "interactive"
    tenant: str | None = None
    api_key: str | Callable[[], str] | None = field(default=None, repr=False)
    tls: Tls | None = None
    retries: Retries = field(default_factory=Retries)
    trace_context: Callable[[], Mapping[str, str]] | None = None
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    keepalive: float = DEFAULT_KEEPALIVE
    keepalive_timeout: float = DEFAULT_KEEPALIVE_TIMEOUT
    channel_options: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.lane not in ("interactive", "bulk"):
            raise ValueError(f"lane is {self.lane!r}; it may be 'interactive' or 'bulk'")
        if self.max_message_bytes < 1:
            raise ValueError(f"max_message_bytes is {self.max_message_bytes}; it is at least 1")
        if self.retries.max_attempts < 1:
            raise ValueError(f"retries.max_attempts is {self.retries.max_attempts}; it is at least 1")
        seconds(self.timeout)
        self.target()

    def target(self) -> tuple[str, bool]:
        """What gRPC connects to, and whether by TLS."""
        text = self.address
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = ("https" if self.tls else "http"), text
        parts = urlsplit(f"//{rest}")
        if "@" in parts.netloc:
            raise ValueError("the address has a user name or password; use api_key")
        if scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError(f"the address is {text!r}; it must be http://host:port, https://host:port or host:port")
        if scheme == "http" and self.tls:
            raise ValueError(f"the address {text!r} says http, and tls is set")
        try:
            port = parts.port
        except ValueError:
            raise ValueError(f"the address is {text!r}; its port is no number up to 65535") from None
        if port is None:
            port = 443 if scheme == "https" else 80
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return f"{host}:{port}", scheme == "https"

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Those of TLS; ``None`` in the clear."""
        if not self.target()[1]:
            return None
        return (self.tls or Tls()).credentials()

    def options(self) -> list[tuple[str, Any]]:
        """Channel options; the caller's own come last and win."""
        first, longest = RECONNECT_MS
        options: list[tuple[str, Any]] = [
            # Retries are ours: gRPC's own know neither lanes nor a budget.
            ("grpc.enable_retries", 0),
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.keepalive_time_ms", round(self.keepalive * 1e3)),
            ("grpc.keepalive_timeout_ms", round(self.keepalive_timeout * 1e3)),
            ("grpc.initial_reconnect_backoff_ms", first),
            ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_MS),
            ("grpc.max_reconnect_backoff_ms", longest),
            # A connection of its own for each client: what one is told by GOAWAY is not another's.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if self.tls and self.tls.server_name:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options + list(self.channel_options)

    def changed(self, **changes: Any) -> Settings:
        """The same with what is not ``None`` changed."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})


@dataclass(frozen=True)
class CallSettings:
    """What one call says beside its message."""

    timeout: float
    lane: Lane
    metadata: tuple[tuple[str, str], ...]
    """All but the attempt's number."""

    def attempt(self, number: int) -> tuple[tuple[str, str], ...]:
        """The metadata of an attempt, numbered from 1."""
        return (*self.metadata, ("sortie-attempt", str(number)))


def call_settings(
    settings: Settings,
    model: str,
    *,
    timeout: float | None,
    lane: Lane | None,
    tenant: str | None,
    job_id: str | None,
    traceparent: str | None,
) -> CallSettings:
    """What a call says: its own words, else the client's."""
    lane = lane or settings.lane
    if lane not in ("interactive", "bulk"):
        raise SortieError.invalid("lane", "BAD_METADATA", f"lane is {lane!r}; it may be 'interactive' or 'bulk'")
    metadata = [
        ("sortie-job-id", _value("job_id", job_id if job_id is not None else uuid.uuid4().hex)),
        ("sortie-lane", lane),
    ]
    tenant = tenant if tenant is not None else settings.tenant
    if tenant is not None:
        metadata.append(("sortie-tenant", _value("tenant", tenant)))
    if model and _fits(model):
        # So that a server may refuse before it reads the message.
        metadata.append(("sortie-model", model))
    if settings.api_key is not None:
        key = settings.api_key() if callable(settings.api_key) else settings.api_key
        if not key or not key.isascii() or not key.isprintable():
            raise SortieError("UNAUTHENTICATED", "api_key is not visible ASCII")
        metadata.append(("authorization", f"Bearer {key}"))
    metadata += _trace(settings, traceparent)
    return CallSettings(seconds(settings.timeout if timeout is None else timeout), lane, tuple(metadata))


def _trace(settings: Settings, traceparent: str | None) -> list[tuple[str, str]]:
    """The trace context: the call's own, else what the client's source has at this moment."""
    if traceparent is not None:
        return [("traceparent", _value("traceparent", traceparent))]
    if settings.trace_context is None:
        return []
    context = {name.lower(): value for name, value in settings.trace_context().items()}
    # A context that is no header value is none; the call does not fail for it.
    return [(name, context[name]) for name in ("traceparent", "tracestate") if _visible(context.get(name))]


def _visible(text: str | None) -> bool:
    return bool(text) and str(text).isascii() and str(text).isprintable()


def _fits(text: str) -> bool:
    return _visible(text) and len(text) <= MAX_VALUE_BYTES


def _value(name: str, text: str) -> str:
    if not _fits(text):
        message = f"{name} must be 1 to {MAX_VALUE_BYTES} bytes of visible ASCII"
        raise SortieError.invalid(name, "BAD_METADATA", message)
    return text


def seconds(timeout: float) -> float:
    """A timeout; ``math.inf`` is none."""
    if math.isnan(timeout) or timeout <= 0:
        raise ValueError(f"timeout is {timeout!r}; it is seconds above 0, or math.inf")
    return timeout
