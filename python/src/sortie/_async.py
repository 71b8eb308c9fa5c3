"""Calls that are awaited, over one channel of grpc.aio."""

from __future__ import annotations

import asyncio
import os
import random
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from . import _calls
from ._retry import Attempts, Lane, RetryBudget
from ._settings import Settings, call_settings
from .errors import Failure, SortieError, failure_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable
    from typing import TypeAlias

    from typing_extensions import Self

    from ._requests import Request
    from .inputs import Input

    Source: TypeAlias = Iterable[Input] | AsyncIterable[Input]

T = TypeVar("T")


class Connection:
    """The channel of a client and of all that was made of it by ``with_options``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.budget = RetryBudget(settings.retries)
        self.closed = asyncio.Event()
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, Any] = {}
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None

    def method(self, path: str) -> Any:
        """What calls an RPC with bytes; connects at the first call."""
        if self.closed.is_set():
            raise RuntimeError("the client is closed")
        loop = asyncio.get_running_loop()
        if self._channel is None:
            target, _ = self.settings.target()
            credentials, options = self.settings.credentials(), self.settings.options()
            if credentials is None:
                self._channel = grpc.aio.insecure_channel(target, options)
            else:
                self._channel = grpc.aio.secure_channel(target, credentials, options)
            self._process, self._loop = os.getpid(), loop
        _calls.check_process(self._process, os.getpid())
        if loop is not self._loop:
            raise RuntimeError("this client was first used in another event loop; make one in each")
        if path not in self._methods:
            self._methods[path] = self._channel.unary_unary(path)
        return self._methods[path]

    async def wait(self, seconds: float) -> None:
        """Waits so long, or until the client is closed."""
        try:
            await asyncio.wait_for(self.closed.wait(), seconds)
        except (TimeoutError, asyncio.TimeoutError):
            return

    async def close(self) -> None:
        """Cancels what is under way and closes the connection."""
        self.closed.set()
        channel, self._channel = self._channel, None
        self._methods.clear()
        if channel is not None and self._process == os.getpid():
            await channel.close()


class AsyncTransport:
    """What ``AsyncClient`` is without its methods."""

    _settings: Settings
    _connection: Connection
    _clock: _calls.Clock
    _rng: random.Random

    def _open(self, settings: Settings) -> None:
        self._settings = settings
        self._connection = Connection(settings)
        self._clock = _calls.CLOCK
        self._rng = random.Random()  # noqa: S311 (jitter is no secret)

    def _view(self, settings: Settings) -> Self:
        """The same connection with other settings."""
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._settings = settings
        return view

    def _bulk_view(self, timeout: float) -> Self:
        """The same in the bulk lane."""
        return self._view(self._settings.changed(lane="bulk", timeout=timeout))

    async def _call(
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
        budget = self._connection.budget
        attempts = Attempts(self._settings.retries, budget, call.lane, deadline, request.once, self._rng)
        failure: Failure | None = None
        outcome: bytes | Failure | None = None
        try:
            while True:
                left = deadline - self._clock()
                if left <= 0:
                    raise _with_attempts(_calls.out_of_time(failure), attempts.made)
                attempts.start()
                outcome = await self._attempt(method, data, left, call.attempt(attempts.made))
                if isinstance(outcome, bytes):
                    budget.answered()
                    return request.read(outcome)
                failure = outcome
                wait = attempts.next_wait(failure, self._clock())
                if wait is None:
                    raise _with_attempts(failure.error, attempts.made)
                await self._connection.wait(wait)
                if self._connection.closed.is_set():
                    raise _with_attempts(_calls.closed(), attempts.made)
        finally:
            # The error refers to this frame, which must not refer to it: a cycle would keep what the caller holds alive.
            failure = outcome = None

    async def _attempt(
        self, method: Any, data: bytes, left: float, metadata: tuple[tuple[str, str], ...]
    ) -> bytes | Failure:
        """One attempt: the response's bytes, or why there are none."""
        rpc = method(data, timeout=_calls.grpc_timeout(left), metadata=metadata)
        try:
            response: bytes = await rpc
        except grpc.aio.AioRpcError as error:
            if self._connection.closed.is_set():
                raise _calls.closed() from None
            return failure_of(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
        except asyncio.CancelledError:
            # gRPC says so too of a channel that was closed under the call.
            task = asyncio.current_task()
            cancelling = task.cancelling() if task is not None and hasattr(task, "cancelling") else 0
            if self._connection.closed.is_set() and not cancelling:
                raise _calls.closed() from None
            raise
        return response

    async def close(self) -> None:
        """Cancels what is under way and closes the connection, of everything made by ``with_options`` too."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.address!r})"


def _with_attempts(error: SortieError, attempts: int) -> SortieError:
    error.attempts = attempts
    return error
