"""Calls that block the thread they are made in, over one channel of grpcio."""

from __future__ import annotations

import os
import random
import threading
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from . import _calls
from ._retry import Attempts, Lane, RetryBudget
from ._settings import Settings, call_settings
from .errors import Failure, SortieError, failure_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    from typing_extensions import Self

    from ._requests import Request
    from .inputs import Input

    Source: TypeAlias = Iterable[Input]

T = TypeVar("T")


class Scope:
    """Calls that can be cancelled together, from any thread."""

    def __init__(self, parent: Scope | None = None) -> None:
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._calls: set[Any] = set()
        self._children: weakref.WeakSet[Scope] = weakref.WeakSet()
        if parent is not None:
            parent._adopt(self)

    def _adopt(self, child: Scope) -> None:
        with self._lock:
            self._children.add(child)
            over = self._over.is_set()
        if over:
            child.cancel()

    @property
    def over(self) -> bool:
        """Whether it was cancelled."""
        return self._over.is_set()

    def wait(self, seconds: float) -> None:
        """Waits so long, or until it is cancelled."""
        self._over.wait(seconds)

    def add(self, call: Any) -> None:
        """Takes a call in; where the scope is over, cancels it."""
        with self._lock:
            self._calls.add(call)
            over = self._over.is_set()
        if over:
            call.cancel()

    def remove(self, call: Any) -> None:
        """Lets a call go."""
        with self._lock:
            self._calls.discard(call)

    def cancel(self) -> None:
        """Cancels every call, and ends every wait."""
        with self._lock:
            self._over.set()
            calls, children = list(self._calls), list(self._children)
        for call in calls:
            call.cancel()
        for child in children:
            child.cancel()


class Connection:
    """The channel of a client and of all that was made of it by ``with_options``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.scope = Scope()
        self.budget = RetryBudget(settings.retries)
        self.lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._methods: dict[str, Any] = {}
        self._process = os.getpid()

    def method(self, path: str) -> Any:
        """What calls an RPC with bytes; connects at the first call."""
        with self.lock:
            if self.scope.over:
                raise RuntimeError("the client is closed")
            if self._channel is None:
                target, _ = self.settings.target()
                credentials, options = self.settings.credentials(), self.settings.options()
                if credentials is None:
                    self._channel = grpc.insecure_channel(target, options)
                else:
                    self._channel = grpc.secure_channel(target, credentials, options)
                self._process = os.getpid()
            _calls.check_process(self._process, os.getpid())
            if path not in self._methods:
                self._methods[path] = self._channel.unary_unary(path)
            return self._methods[path]

    def close(self) -> None:
        """Cancels what is under way and closes the connection."""
        self.scope.cancel()
        with self.lock:
            channel, self._channel = self._channel, None
            self._methods.clear()
        # A channel that came by a fork is the parent's to close.
        if channel is not None and self._process == os.getpid():
            channel.close()


class SyncTransport:
    """What ``Client`` is without its methods."""

    _settings: Settings
    _connection: Connection
    _scope: Scope
    _clock: _calls.Clock
    _rng: random.Random

    def _open(self, settings: Settings) -> None:
        self._settings = settings
        self._connection = Connection(settings)
        self._scope = self._connection.scope
        self._clock = _calls.CLOCK
        self._rng = random.Random()  # noqa: S311 (jitter is no secret)

    def _view(self, settings: Settings, scope: Scope | None = None) -> Self:
        """The same connection with other settings."""
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._settings = settings
        view._scope = scope or self._scope
        return view

    def _bulk_view(self, timeout: float) -> Self:
        """The same in the bulk lane, whose calls can be cancelled together."""
        return self._view(self._settings.changed(lane="bulk", timeout=timeout), Scope(self._scope))

    def _call(
        self,
        request: Request[T],
        *,
        timeout: float | None = None,
        lane: Lane | None = None,
        tenant: str | None = None,
        job_id: str | None = None,
        traceparent: str | None = None,
    ) -> T:
        """Sends a request until it is answered, or will not be."""
        call = call_settings(
            self._settings,
            request.model,
            timeout=timeout,
            lane=lane,
            tenant=tenant,
            job_id=job_id,
            traceparent=traceparent,
        )
        data = _calls.serialized(request.message, self._settings.max_message_bytes)
        method = self._connection.method(request.method)
        deadline = self._clock() + call.timeout
        budget, lock = self._connection.budget, self._connection.lock
        attempts = Attempts(self._settings.retries, budget, call.lane, deadline, request.once, self._rng)
        failure: Failure | None = None
        outcome: bytes | Failure | None = None
        try:
            while True:
                left = deadline - self._clock()
                if left <= 0:
                    raise _with_attempts(_calls.out_of_time(failure), attempts.made)
                attempts.start()
                outcome = self._attempt(method, data, left, call.attempt(attempts.made))
                if isinstance(outcome, bytes):
                    with lock:
                        budget.answered()
                    return request.read(outcome)
                failure = outcome
                with lock:
                    wait = attempts.next_wait(failure, self._clock())
                if wait is None:
                    raise _with_attempts(failure.error, attempts.made)
                self._scope.wait(wait)
                if self._scope.over:
                    raise _with_attempts(_calls.closed(), attempts.made)
        finally:
            # The error refers to this frame, which must not refer to it: a cycle would keep what the caller holds alive.
            failure = outcome = None

    def _attempt(self, method: Any, data: bytes, left: float, metadata: tuple[tuple[str, str], ...]) -> bytes | Failure:
        """One attempt: the response's bytes, or why there are none."""
        rpc = method.future(data, timeout=_calls.grpc_timeout(left), metadata=metadata)
        self._scope.add(rpc)
        try:
            # Not `result()`, which raises the call itself: that would refer to this frame, and the frame to it.
            error = rpc.exception()
        except grpc.FutureCancelledError:
            raise _calls.closed() from None
        except BaseException:
            # Ctrl-C: nobody wants the answer any more.
            rpc.cancel()
            raise
        finally:
            self._scope.remove(rpc)
        if error is None:
            response: bytes = rpc.result()
            return response
        if self._scope.over:
            raise _calls.closed()
        return _failure(error)

    def close(self) -> None:
        """Cancels what is under way and closes the connection, of everything made by ``with_options`` too."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.address!r})"


def _failure(status: Any) -> Failure:
    return failure_of(status.code(), status.details() or "", status.trailing_metadata() or ())


def _with_attempts(error: SortieError, attempts: int) -> SortieError:
    error.attempts = attempts
    return error
