"""Bulk runs: order, bounds, resends, the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from support import FakeTime, Held, Kind, Refuse, Scripted, Seen, answer, both, queue_full, scripted

import sortie
from sortie import _bulk
from sortie._bulk import BulkSettings, Cutter, Ratio, RunState, Window

Code = grpc.StatusCode


def texts(count: int) -> list[str]:
    return [f"text {i}" for i in range(count)]


def run(
    kind: Kind, server: Scripted, inputs: Any, time: FakeTime | None = None, most: int | None = None, **options: Any
) -> list[sortie.Slice[Any]]:
    """Every slice of a run, or the first ``most``."""
    parts: list[sortie.Slice[Any]] = []
    if kind == "sync":
        with sortie.Client(server.address) as client:
            if time:
                time.prepare(client)
            with client.bulk(inputs, lambda c, part: c.embed(part), **options) as blocking:
                for part in blocking:
                    parts.append(part)
                    assert blocking.progress.resume_at == part.end
                    if len(parts) == most:
                        break
        return parts

    async def go() -> list[sortie.Slice[Any]]:
        async with sortie.AsyncClient(server.address) as client:
            if time:
                time.prepare(client)
            async with client.bulk(inputs, lambda c, part: c.embed(part), **options) as awaited:
                async for part in awaited:
                    parts.append(part)
                    assert awaited.progress.resume_at == part.end
                    if len(parts) == most:
                        break
        return parts

    return asyncio.run(go())


def numbers(parts: list[sortie.Slice[Any]]) -> list[int]:
    return [int(number) for part in parts for number in part.answer.vectors[:, 0]]


@both
def test_every_input_is_answered_once_and_in_order(kind: Kind) -> None:
    with scripted() as server:
        parts = run(kind, server, iter(texts(1_000)), slice_tokens=50)
        assert numbers(parts) == list(range(1_000))
        assert [text for part in parts for text in part.inputs] == texts(1_000)
        assert [part.start for part in parts] == [0, *(part.end for part in parts[:-1])]
        assert len(parts) > 20
        assert {seen.metadata["sortie-lane"] for seen in server.seen} == {"bulk"}
        assert all(seen.time_remaining and 60 < seen.time_remaining < 121 for seen in server.seen)


@both
def test_answers_that_come_out_of_order_are_given_in_order(kind: Kind) -> None:
    later = threading.Event()

    def first_comes_last(seen: Seen) -> Any:
        if seen.request.inputs[0].text == "text 0":
            assert later.wait(30)
        else:
            later.set()
        return answer(seen)

    with scripted(then=first_comes_last) as server:
        parts = run(kind, server, texts(300), slice_tokens=50, in_flight=2)
    assert numbers(parts) == list(range(300))


@both
def test_no_more_than_asked_for_is_under_way_or_read(kind: Kind) -> None:
    under_way, most, lock = 0, 0, threading.Lock()
    read = 0

    def count(seen: Seen) -> Any:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        try:
            return answer(seen)
        finally:
            with lock:
                under_way -= 1

    def source() -> Iterator[str]:
        nonlocal read
        for text in texts(10_000):
            read += 1
            yield text

    with scripted(then=count) as server:
        parts = run(kind, server, source(), most=3, slice_tokens=50, in_flight=3)
    assert most <= 3
    longest = max(len(part.inputs) for part in parts)
    # Three given, three for each of the three that may be under way, and one input that is left over.
    assert read <= (3 + 3 * (1 + _bulk.HELD_PER_SLICE)) * (longest * 2) + 1
    assert numbers(parts) == list(range(len(numbers(parts))))


class Waiting:
    """A step that holds its calls until it is told, and counts those that began."""

    def __init__(self) -> None:
        self.began, self.go = threading.Semaphore(0), threading.Event()

    def __call__(self, seen: Seen) -> Any:
        self.began.release()
        self.go.wait(30)
        return answer(seen)

    def three(self) -> None:
        for _ in range(3):
            assert self.began.acquire(timeout=30)


def test_three_in_flight_are_three() -> None:
    step = Waiting()
    with scripted(then=step) as server, sortie.Client(server.address) as client:
        run = client.bulk(texts(1_000), lambda c, part: c.embed(part), slice_tokens=50, in_flight=3)
        found: list[Any] = []
        consumer = threading.Thread(target=lambda: found.extend(run))
        consumer.start()
        step.three()
        # It has sent what it may once it waits for an answer.
        waiters = run._workers.changed._waiters  # type: ignore[attr-defined]
        for _ in range(3_000):
            if waiters:
                break
            threading.Event().wait(0.01)
        assert waiters
        assert len(run._jobs) == 3
        step.go.set()
        consumer.join(60)
    assert numbers(found) == list(range(1_000))


def test_three_awaited_in_flight_are_three() -> None:
    step = Waiting()

    async def go(server: Scripted) -> list[sortie.Slice[Any]]:
        async with sortie.AsyncClient(server.address) as client:
            run = client.bulk(texts(1_000), lambda c, part: c.embed(part), slice_tokens=50, in_flight=3)
            first = asyncio.ensure_future(anext(run))
            await asyncio.to_thread(step.three)
            assert len(run._jobs) == 3
            step.go.set()
            return [await first, *[part async for part in run]]

    with scripted(then=step) as server:
        assert numbers(asyncio.run(go(server))) == list(range(1_000))


@both
def test_a_run_goes_on_where_another_ended(kind: Kind) -> None:
    with scripted() as server:
        first = run(kind, server, texts(500), most=4, slice_tokens=50)
        second = run(kind, server, texts(500), slice_tokens=50, resume_at=first[-1].end)
    assert numbers(first + second) == list(range(500))


@both
def test_nothing_is_a_run_too(kind: Kind) -> None:
    with scripted() as server:
        assert run(kind, server, []) == []
        assert run(kind, server, texts(3), resume_at=3) == []
        assert run(kind, server, texts(3), resume_at=9) == []
        with pytest.raises(TypeError, match="one text"):
            run(kind, server, "one text")
        with pytest.raises(ValueError, match="in_flight"):
            run(kind, server, texts(3), in_flight=0)


@both
def test_what_passes_is_sent_again_and_nothing_is_doubled(
    kind: Kind, time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        time.now += seconds

    monkeypatch.setattr("sortie._bulk_async.asyncio.sleep", sleep)
    steps = [
        queue_full("-1"),
        Refuse(Code.UNAVAILABLE, "DRAINING", pushback="-1"),
        Refuse(Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
        queue_full("20"),
        queue_full("-1"),
    ]
    # Of these "not again" with UNAVAILABLE is final; the others pass.
    del steps[1]
    with scripted(*steps) as server:
        parts = run(kind, server, texts(400), time, slice_tokens=50, in_flight=2)
    assert numbers(parts) == list(range(400))


@both
def test_what_does_not_pass_ends_the_run_with_what_was_given(kind: Kind) -> None:
    def refuse_the_third_hundred(seen: Seen) -> Any:
        if any(item.text == "text 250" for item in seen.request.inputs):
            raise Refuse(Code.INVALID_ARGUMENT, "BAD_FIELD")
        return answer(seen)

    before = set(threading.enumerate())
    with scripted(then=refuse_the_third_hundred) as server:
        found: list[sortie.Slice[Any]] = []
        with sortie.Client(server.address) as client:
            if kind == "sync":
                blocking = client.bulk(texts(400), lambda c, part: c.embed(part), slice_tokens=50)
                with pytest.raises(sortie.SortieError, match="BAD_FIELD"):
                    found.extend(blocking)
                for part in client.bulk(texts(240), lambda c, part: c.embed(part), slice_tokens=50):
                    found.append(part)
                assert list(blocking) == []
            else:
                with pytest.raises(sortie.SortieError, match="BAD_FIELD"):
                    run(kind, server, texts(400), slice_tokens=50)
        left = [t for t in set(threading.enumerate()) - before if t.name.startswith("sortie")]
    assert not left


def test_a_run_gives_up_where_nothing_succeeds(time: FakeTime) -> None:
    with scripted(then=queue_full("-1")) as server, sortie.Client(server.address) as client:
        time.prepare(client)
        run = client.bulk(texts(3), lambda c, part: c.embed(part), give_up_after=30)
        with pytest.raises(sortie.SortieError) as caught:
            next(run)
    assert caught.value.reason == "QUEUE_FULL"
    assert 30 <= time.now <= 30 + 10
    assert run.progress == sortie.Progress(read=3, given=0, resume_at=0, again=run.progress.again)


def test_a_forgotten_run_cancels_its_calls_and_ends_its_threads() -> None:
    held = Held()

    def first_answers(seen: Seen) -> Any:
        return answer(seen) if seen.request.inputs[0].text == "text 0" else held(seen)

    before = set(threading.enumerate())
    with scripted(then=first_answers) as server, sortie.Client(server.address) as client:
        for part in client.bulk(texts(400), lambda c, part: c.embed(part), slice_tokens=50, in_flight=2):
            assert part.start == 0
            assert held.began.wait(30)
            break
        assert held.cancelled()
        left = [t for t in set(threading.enumerate()) - before if t.name.startswith("sortie")]
        assert not left
        assert client.embed(["text 0"]).vectors.shape == (1, 2), "the client goes on"


def test_a_closed_client_ends_its_runs() -> None:
    held = Held()
    with scripted(then=held) as server:
        client = sortie.Client(server.address)
        closer = threading.Thread(target=lambda: (held.began.wait(30), client.close()))
        closer.start()
        with pytest.raises(sortie.SortieError) as caught:
            list(client.bulk(texts(10), lambda c, part: c.embed(part)))
        closer.join()
    assert caught.value.code == "CANCELLED"


def test_an_asynchronous_source_is_read() -> None:
    async def go(server: Scripted) -> list[sortie.Slice[Any]]:
        async def source() -> Any:
            for text in texts(300):
                yield text

        async with sortie.AsyncClient(server.address) as client:
            return [part async for part in client.bulk(source(), lambda c, part: c.embed(part), slice_tokens=50)]

    with scripted() as server:
        assert numbers(asyncio.run(go(server))) == list(range(300))


def settings(**changes: Any) -> BulkSettings:
    plain: dict[str, Any] = {
        "resume_at": 0,
        "slice_tokens": 100,
        "slice_bytes": 1_000,
        "in_flight": 2,
        "timeout": 1.0,
        "give_up_after": 1.0,
    }
    return BulkSettings(**(plain | changes))


def slices(cutter: Cutter, inputs: list[Any]) -> list[int]:
    lengths = []
    for item in inputs:
        if (slice_ := cutter.push(item)) is not None:
            lengths.append(len(slice_[1]))
    if (slice_ := cutter.take()) is not None:
        lengths.append(len(slice_[1]))
    return lengths


def test_slices_are_cut_by_tokens_bytes_and_items(monkeypatch: pytest.MonkeyPatch) -> None:
    assert slices(Cutter(settings(), None), ["x" * 40] * 25) == [10, 10, 5]
    assert slices(Cutter(settings(slice_tokens=10_000), None), ["x" * 400] * 5) == [2, 2, 1]
    assert slices(Cutter(settings(), None), [sortie.TokenIds([1] * 30)] * 7) == [3, 3, 1]
    assert slices(Cutter(settings(), None), ["x" * 5_000, "y", "z"]) == [1, 2], "one text may have more"
    assert slices(Cutter(settings(slice_tokens=10_000, slice_bytes=10_000), None), ["\u00e9" * 3_000] * 3) == [1, 1, 1]
    monkeypatch.setattr(_bulk, "ASSUMED_MAX_ITEMS", 4)
    assert slices(Cutter(settings(), None), ["a"] * 9) == [4, 4, 1]


def test_tokens_of_texts_are_learnt() -> None:
    ratio = Ratio()
    assert ratio.value == _bulk.ASSUMED_TOKEN_BYTES
    ratio.record(200, 100)
    assert ratio.value == 2.0
    ratio.record(8 << 20, 1 << 20)
    assert 7.5 < ratio.value <= 8.0
    ratio = Ratio()
    ratio.record(0, 0)
    assert ratio.value == _bulk.ASSUMED_TOKEN_BYTES


def test_overload_halves_once_a_round_and_answers_open_again() -> None:
    window = Window(16)
    for _ in range(5):
        window.overloaded(0.0)
    assert window.slices == 8
    window.overloaded(2.0)
    assert window.slices == 4
    for _ in range(5):
        window.answered()
    assert window.slices == 5
    for _ in range(1_000):
        window.answered()
    assert window.slices == 16
    for second in range(100):
        window.overloaded(10.0 + second)
    assert window.slices == 1


def test_waits_before_a_slice_is_sent_again() -> None:
    state = RunState(Window(4), give_up_after=100.0, success=0.0)
    full = sortie.SortieError("RESOURCE_EXHAUSTED", "full")
    assert [state.pause(full, failures, 0.0) for failures in (1, 2, 3, 20)] == [0.25, 0.5, 1.0, 10.0]
    said = sortie.SortieError("UNAVAILABLE", "wait", retryable=True, retry_after=3.0)
    assert state.pause(said, 1, 0.0) == 3.0
    assert state.pause(sortie.SortieError("INVALID_ARGUMENT", "no"), 1, 0.0) is None
    assert state.pause(sortie.SortieError("UNAVAILABLE", "never"), 1, 0.0) is None
    assert state.pause(full, 1, 100.0) is None
    state.answered(99.0)
    assert state.pause(full, 1, 100.0) == 0.25
    assert np.isclose(state.window.size, 2.0 + 0.5 - 0.0, atol=1.0)
