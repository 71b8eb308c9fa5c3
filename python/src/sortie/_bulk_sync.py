"""A bulk run as an iterator: reads inputs, keeps slices under way on threads, gives their answers in order."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import _bulk
from ._bulk import BulkSettings, Cutter, Progress, RunState, Slice, Window
from ._calls import Clock
from ._sync import Scope
from .errors import SortieError
from .info import LoadReport
from .inputs import Input

if TYPE_CHECKING:
    from typing_extensions import Self

    from .client import Client

T = TypeVar("T")


class _Job(Generic[T]):
    """A slice under way."""

    def __init__(self, start: int, inputs: list[Input]) -> None:
        self.start = start
        self.inputs = inputs
        self.answer: T | None = None
        self.error: BaseException | None = None
        self.done = False


class _Workers(Generic[T]):
    """Threads that have slices answered. They know nothing of the run, so that a forgotten run ends."""

    def __init__(self, answer: Callable[[list[Input]], T], scope: Scope, state: RunState, clock: Clock) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.state = state
        self.scope = scope
        self._answer = answer
        self._clock = clock
        self._todo: queue.SimpleQueue[_Job[T] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def send(self, job: _Job[T], under_way: int) -> None:
        """Has a slice answered, by one more thread where all are busy."""
        if len(self._threads) < under_way:
            # Daemons: a program that ends in the middle of a run does not wait for its answers.
            name = f"sortie-bulk-{len(self._threads)}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        self._todo.put(job)

    def stop(self) -> None:
        """Cancels what is under way and waits for the threads."""
        self.scope.cancel()
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._threads.clear()

    def _work(self) -> None:
        while (job := self._todo.get()) is not None:
            try:
                job.answer = self._until_answered(job)
            except BaseException as error:
                job.error = error
            with self.lock:
                job.done = True
                self.changed.notify_all()

    def _until_answered(self, job: _Job[T]) -> T:
        failures = 0
        while True:
            if self.scope.over:
                raise SortieError("CANCELLED", "the run was closed")
            try:
                answer = self._answer(job.inputs)
            except SortieError as error:
                failures += 1
                with self.lock:
                    pause = None if self.scope.over else self.state.pause(error, failures, self._clock())
                if pause is None:
                    raise
                self.scope.wait(pause)
                continue
            with self.lock:
                self.state.answered(self._clock())
            return answer


class BulkRun(Iterator[Slice[T]]):
    """A run of bulk work: an iterator of slices, in input order.

    An error ends it; what was given is good, and ``progress.resume_at`` says where to go on. Closed, by ``close()``, by
    leaving ``with``, or forgotten, it cancels what is under way and ends its threads.
    """

    def __init__(
        self,
        inputs: Iterable[Input],
        client: Client,
        call: Callable[[Client, list[Input]], T],
        settings: BulkSettings,
    ) -> None:
        if isinstance(inputs, (str, bytes)):
            raise TypeError("inputs is one text; it must be an iterable of texts")
        self._inputs = iter(inputs)
        self._client = client
        self._settings = settings
        self._cutter: Cutter | None = None
        self._jobs: deque[_Job[T]] = deque()
        self._read = 0
        self._given = 0
        self._resume_at = settings.resume_at
        self._exhausted = False
        state = RunState(Window(settings.in_flight), settings.give_up_after, client._clock())
        self._workers = _Workers(lambda part: call(client, part), client._scope, state, client._clock)

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return Progress(self._read, self._given, self._resume_at, self._workers.state.again)

    def __next__(self) -> Slice[T]:
        workers = self._workers
        try:
            if workers.scope.over:
                raise StopIteration
            if self._cutter is None:
                self._cutter = Cutter(self._settings, _load(self._client))
            self._fill(self._cutter)
            if not self._jobs:
                raise StopIteration
            head = self._jobs[0]
            while not head.done:
                with workers.lock:
                    under_way = sum(not job.done for job in self._jobs)
                    while not head.done and sum(not job.done for job in self._jobs) == under_way:
                        workers.changed.wait()
                if not head.done:
                    self._fill(self._cutter)
            self._jobs.popleft()
            if (error := head.error) is not None:
                head.error = None
                try:
                    raise error
                finally:
                    del error
        except BaseException:
            self.close()
            raise
        answer: Any = head.answer
        slice_ = Slice(head.start, head.inputs, answer)
        self._cutter.answered(head.inputs, answer)
        self._given += len(head.inputs)
        self._resume_at = slice_.end
        return slice_

    def _fill(self, cutter: Cutter) -> None:
        """Reads inputs and sends slices for as long as there is room."""
        while not self._exhausted:
            with self._workers.lock:
                window = self._workers.state.window.slices
                under_way = sum(not job.done for job in self._jobs)
            if under_way >= window or len(self._jobs) >= window * (1 + _bulk.HELD_PER_SLICE):
                return
            slice_ = self._next_slice(cutter)
            if slice_ is None:
                return
            job: _Job[T] = _Job(*slice_)
            self._jobs.append(job)
            self._workers.send(job, under_way + 1)

    def _next_slice(self, cutter: Cutter) -> tuple[int, list[Input]] | None:
        for item in self._inputs:
            self._read += 1
            if self._read <= self._settings.resume_at:
                continue
            if (slice_ := cutter.push(item)) is not None:
                return slice_
        self._exhausted = True
        return cutter.take()

    def close(self) -> None:
        """Cancels what is under way and ends the threads. The run gives nothing more."""
        self._exhausted = True
        self._jobs.clear()
        self._workers.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_workers"):
            self.close()


def _load(client: Client) -> LoadReport | None:
    """What the server takes; a run begins without it where the server cannot say now."""
    try:
        return client.probe(timeout=_bulk.PROBE_TIMEOUT)
    except SortieError:
        return None
