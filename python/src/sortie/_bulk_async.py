"""A bulk run as an asynchronous iterator: reads inputs, keeps slices under way as tasks, gives their answers in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from . import _bulk
from ._bulk import BulkSettings, Cutter, Progress, RunState, Slice, Window
from .errors import SortieError
from .info import LoadReport
from .inputs import Input

if TYPE_CHECKING:
    from typing_extensions import Self

    from .aio import AsyncClient

T = TypeVar("T")


class AsyncBulkRun(AsyncIterator[Slice[T]]):
    """A run of bulk work: an asynchronous iterator of slices, in input order.

    An error ends it; what was given is good, and ``progress.resume_at`` says where to go on. Closed, by ``aclose()`` or
    by leaving ``async with``, it cancels what is under way.
    """

    def __init__(
        self,
        inputs: Iterable[Input] | AsyncIterable[Input],
        client: AsyncClient,
        call: Callable[[AsyncClient, list[Input]], Awaitable[T]],
        settings: BulkSettings,
    ) -> None:
        if isinstance(inputs, (str, bytes)):
            raise TypeError("inputs is one text; it must be an iterable of texts")
        self._inputs = aiter(inputs) if isinstance(inputs, AsyncIterable) else _as_async(inputs)
        self._client = client
        self._answer = call
        self._settings = settings
        self._clock = client._clock
        self._cutter: Cutter | None = None
        self._jobs: deque[tuple[int, list[Input], asyncio.Task[T]]] = deque()
        self._read = 0
        self._given = 0
        self._resume_at = settings.resume_at
        self._exhausted = False
        self._state = RunState(Window(settings.in_flight), settings.give_up_after, self._clock())

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return Progress(self._read, self._given, self._resume_at, self._state.again)

    async def __anext__(self) -> Slice[T]:
        try:
            if self._cutter is None:
                self._cutter = Cutter(self._settings, await self._load())
            await self._fill(self._cutter)
            if not self._jobs:
                raise StopAsyncIteration
            start, inputs, head = self._jobs[0]
            while not head.done():
                under_way = [task for _, _, task in self._jobs if not task.done()]
                await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                if not head.done():
                    await self._fill(self._cutter)
            self._jobs.popleft()
            answer = await head
        except BaseException:
            await self.aclose()
            raise
        self._cutter.answered(inputs, answer)
        slice_ = Slice(start, inputs, answer)
        self._given += len(inputs)
        self._resume_at = slice_.end
        return slice_

    async def _fill(self, cutter: Cutter) -> None:
        """Reads inputs and sends slices for as long as there is room."""
        while not self._exhausted:
            window = self._state.window.slices
            under_way = sum(not task.done() for _, _, task in self._jobs)
            if under_way >= window or len(self._jobs) >= window * (1 + _bulk.HELD_PER_SLICE):
                return
            slice_ = await self._next_slice(cutter)
            if slice_ is None:
                return
            start, inputs = slice_
            self._jobs.append((start, inputs, asyncio.ensure_future(self._until_answered(inputs))))

    async def _next_slice(self, cutter: Cutter) -> tuple[int, list[Input]] | None:
        async for item in self._inputs:
            self._read += 1
            if self._read <= self._settings.resume_at:
                continue
            if (slice_ := cutter.push(item)) is not None:
                return slice_
        self._exhausted = True
        return cutter.take()

    async def _until_answered(self, inputs: list[Input]) -> T:
        failures = 0
        while True:
            try:
                answer = await self._answer(self._client, inputs)
            except SortieError as error:
                failures += 1
                pause = self._state.pause(error, failures, self._clock())
                if pause is None:
                    raise
                await asyncio.sleep(pause)
                continue
            self._state.answered(self._clock())
            return answer

    async def _load(self) -> LoadReport | None:
        """What the server takes; a run begins without it where the server cannot say now."""
        try:
            return await self._client.probe(timeout=_bulk.PROBE_TIMEOUT)
        except SortieError:
            return None

    async def aclose(self) -> None:
        """Cancels what is under way. The run gives nothing more."""
        self._exhausted = True
        tasks = [task for _, _, task in self._jobs]
        self._jobs.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def _as_async(inputs: Iterable[Input]) -> AsyncIterator[Input]:
    for item in inputs:
        yield item
