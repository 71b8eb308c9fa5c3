"""When a call is sent again, and when not: the rules alone, and both clients against a scripted server."""

from __future__ import annotations

import random
import socket
import threading
from typing import Any

import grpc
import numpy as np
import pytest
from support import FakeTime, Kind, Refuse, Scripted, Seen, answer, ask, both, queue_full, scripted

import sortie
from sortie._retry import Attempts, RetryBudget
from sortie._wire import details_pb2
from sortie.errors import failure_of

Code = grpc.StatusCode
DOCUMENTS = ["a 1", "b 2", "c 3"]


def rerank(client: Any) -> Any:
    return client.rerank("which", DOCUMENTS)


@both
def test_a_refusal_is_sent_again_not_before_the_server_says(kind: Kind, time: FakeTime) -> None:
    with scripted(queue_full("70"), queue_full("30")) as server:
        found = ask(kind, server.address, rerank, time.prepare, model="m", lane="interactive", tenant="search")
    assert found.scores.tolist() == [1.0, 2.0, 3.0]
    first, second = time.waits
    assert 0.07 <= first <= 0.07 + 0.025
    assert 0.03 <= second <= 0.03 + 0.05
    assert [seen.metadata["sortie-attempt"] for seen in server.seen] == ["1", "2", "3"]
    assert len({seen.metadata["sortie-job-id"] for seen in server.seen}) == 1
    for seen in server.seen:
        assert seen.metadata["sortie-lane"] == "interactive"
        assert seen.metadata["sortie-tenant"] == "search"
        assert seen.metadata["sortie-model"] == "m"
        assert seen.request.model == "m"


@both
@pytest.mark.parametrize("lane", ["interactive", "bulk"])
@pytest.mark.parametrize("word", ["-1", "soon", "-7"])
def test_never_is_never(kind: Kind, lane: Any, word: str, time: FakeTime) -> None:
    with scripted(queue_full(word)) as server, pytest.raises(sortie.SortieError) as caught:
        ask(kind, server.address, rerank, time.prepare, lane=lane)
    assert len(server.seen) == 1
    assert not caught.value.retryable
    assert caught.value.retry_after is None
    assert (caught.value.code, caught.value.reason, caught.value.attempts) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL", 1)


@both
def test_what_the_caller_must_change_is_told_at_once(kind: Kind, time: FakeTime) -> None:
    refusal = Refuse(
        Code.INVALID_ARGUMENT,
        "TOO_MANY_ITEMS",
        words="too many",
        field="documents",
        facts={"items": "9", "max_items": "2"},
    )
    with scripted(refusal) as server, pytest.raises(sortie.SortieError) as caught:
        ask(kind, server.address, rerank, time.prepare)
    error = caught.value
    assert len(server.seen) == 1
    assert not time.waits
    assert str(error) == "too many (TOO_MANY_ITEMS)"
    assert (error.field, error.facts) == ("documents", {"items": "9", "max_items": "2"})
    assert error.violations == (sortie.FieldViolation("documents", "too many"),)
    assert [name for name, _ in error.details] == ["google.rpc.ErrorInfo", "google.rpc.BadRequest"]


@both
def test_a_fault_is_sent_again_once(kind: Kind, time: FakeTime) -> None:
    fault = Refuse(Code.INTERNAL, "RUN_FAILED")
    with scripted(fault) as server:
        ask(kind, server.address, rerank, time.prepare)
        assert len(server.seen) == 2
    with scripted(then=fault) as server, pytest.raises(sortie.SortieError) as caught:
        ask(kind, server.address, rerank, time.prepare)
    assert len(server.seen) == 2
    assert (caught.value.reason, caught.value.retryable, caught.value.attempts) == ("RUN_FAILED", False, 2)


@both
def test_one_timeout_holds_for_all_attempts(kind: Kind, time: FakeTime) -> None:
    with scripted(then=queue_full("400")) as server, pytest.raises(sortie.SortieError) as caught:
        ask(kind, server.address, rerank, time.prepare, timeout=1.0)
    # At 0, after 0.4 s and after 0.8 s; a wait that would end past the timeout is not begun.
    assert len(server.seen) == 3
    assert sum(time.waits) < 1.0
    assert caught.value.reason == "QUEUE_FULL"
    assert caught.value.retry_after == pytest.approx(0.4)
    assert caught.value.retryable
    left = [seen.time_remaining for seen in server.seen]
    assert left[0] is not None
    assert left[0] <= 1.0
    assert left[1] <= 0.6
    assert left[2] <= 0.2


@both
def test_without_a_timeout_none_is_sent(kind: Kind) -> None:
    with scripted() as server:
        ask(kind, server.address, rerank, timeout=float("inf"))
        remaining = server.seen[0].time_remaining
    assert remaining is None or remaining > 1e6


@both
def test_the_timeout_passes_under_way(kind: Kind) -> None:
    released = threading.Event()

    def hold(seen: Seen) -> Any:
        released.wait(30)
        return answer(seen)

    with scripted(then=hold) as server:
        try:
            with pytest.raises(sortie.SortieError) as caught:
                ask(kind, server.address, rerank, timeout=0.2)
        finally:
            released.set()
        assert len(server.seen) == 1
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert not caught.value.retryable


@both
def test_attempts_are_counted_and_paid_for(kind: Kind, time: FakeTime) -> None:
    with scripted(then=queue_full()) as server:
        for _ in range(10):
            with pytest.raises(sortie.SortieError):
                ask(kind, server.address, rerank, time.prepare)
        # Each client is new, and has a burst of its own: five attempts a call.
        assert len(server.seen) == 50
    with scripted(then=queue_full()) as server:

        def many(client: Any) -> Any:
            for _ in range(40):
                with pytest.raises(sortie.SortieError):
                    client.rerank("which", DOCUMENTS)

        with sortie.Client(server.address) as client:
            time.prepare(client)
            many(client)
        extra = len(server.seen) - 40
    # The burst, and one for each second that the fake clock went on.
    assert 9 <= extra <= 10 + 1 + time.now


@both
def test_bulk_calls_are_refused_for_free(kind: Kind, time: FakeTime) -> None:
    with scripted(*[queue_full("100")] * 30) as server:
        ask(kind, server.address, rerank, time.prepare, lane="bulk", timeout=1e6)
        assert len(server.seen) == 31


@both
def test_a_server_about_to_stop_is_asked_again(kind: Kind, time: FakeTime) -> None:
    with scripted(Refuse(Code.UNAVAILABLE, "DRAINING", pushback="0")) as server:
        ask(kind, server.address, rerank, time.prepare)
        assert len(server.seen) == 2
    assert 0 <= time.waits[0] <= 0.025


@both
def test_a_dead_peer_is_unavailable(kind: Kind, time: FakeTime) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(sortie.SortieError) as caught:
            ask(kind, address, rerank, time.prepare)
    assert caught.value.code == "UNAVAILABLE"
    assert caught.value.retryable
    assert caught.value.attempts == 5
    assert str(caught.value).startswith("the connection failed: ")


@both
def test_a_peer_that_dies_under_the_call_and_comes_back(kind: Kind) -> None:
    servers: list[Scripted] = []
    changed, gone = threading.Event(), threading.Event()

    def die(seen: Seen) -> Any:
        seen.context.add_callback(gone.set)
        changed.set()
        gone.wait(30)
        raise Refuse(Code.UNKNOWN)

    with scripted(die) as first:
        servers.append(first)

        def restart() -> None:
            changed.wait(30)
            first.stop()
            servers.append(Scripted(port=first.port))

        thread = threading.Thread(target=restart)
        thread.start()
        try:
            # It is away for as long as it takes; the call lives through it.
            patient = sortie.Retries(max_attempts=1_000, budget_burst=1_000)
            found = ask(kind, first.address, rerank, retries=patient)
        finally:
            thread.join()
            servers[-1].stop()
    assert found.scores.tolist() == [1.0, 2.0, 3.0]


@both
def test_probes_and_health_are_not_sent_again(kind: Kind, time: FakeTime) -> None:
    with scripted() as server:
        for use in (lambda c: c.probe(), lambda c: c.health()):
            with pytest.raises(sortie.SortieError) as caught:
                ask(kind, server.address, use, time.prepare)
            assert (caught.value.code, caught.value.attempts) == ("UNIMPLEMENTED", 1)
    assert not time.waits


def failure(code: grpc.StatusCode, pushback: str | None = None, *, died: bool = False) -> Any:
    status = details_pb2.Status(details=[details_pb2.Any(type_url="x/google.rpc.ErrorInfo")])
    trailers: list[tuple[str, str | bytes]] = [] if died else [("grpc-status-details-bin", status.SerializeToString())]
    if pushback is not None:
        trailers.append(("grpc-retry-pushback-ms", pushback))
    return failure_of(code, "words", trailers)


def attempts(lane: Any = "interactive", deadline: float = 1e9, **settings: Any) -> Attempts:
    retries = sortie.Retries(**settings)
    made = Attempts(retries, RetryBudget(retries), lane, deadline, rng=random.Random(7))
    made.start()
    return made


@pytest.mark.parametrize("code", list(Code))
def test_what_each_code_means(code: grpc.StatusCode) -> None:
    if code is Code.OK:
        return
    again = {
        Code.RESOURCE_EXHAUSTED,
        Code.UNAVAILABLE,
        Code.INTERNAL,
        Code.UNKNOWN,
        Code.DATA_LOSS,
        Code.ABORTED,
        Code.CANCELLED,
    }
    assert (attempts().next_wait(failure(code), 0.0) is not None) == (code in again)
    assert attempts().next_wait(failure(code, "-1"), 0.0) is None
    assert attempts(max_attempts=1).next_wait(failure(code), 0.0) is None


def test_backoffs_double_with_full_jitter() -> None:
    for made in range(1, 9):
        found = []
        for seed in range(200):
            one = attempts(max_attempts=100)
            one.made, one.rng = made, random.Random(seed)
            found.append(one.next_wait(failure(Code.UNAVAILABLE), 0.0))
        limit = min(0.025 * 2 ** (made - 1), 0.25)
        assert all(wait is not None and 0 <= wait <= limit for wait in found)
        assert np.ptp(np.array(found, float)) > limit / 2


def test_the_first_death_is_free_and_the_second_is_paid_for() -> None:
    one = attempts(budget_burst=0.0, budget_floor=1e9)
    one.budget.floor_at = 0.0
    assert one.next_wait(failure(Code.UNAVAILABLE, died=True), 1.0) is not None
    one.start()
    assert one.next_wait(failure(Code.UNAVAILABLE, died=True), 1.0) is None


def test_answers_fill_the_budget_and_refusals_empty_it() -> None:
    budget = RetryBudget(sortie.Retries(budget_burst=2.0, budget_share=0.5))
    assert budget.pay(0.0)
    assert budget.pay(0.0)
    assert budget.pay(0.0), "one a second is let through"
    assert not budget.pay(0.5)
    assert budget.pay(1.0)
    for _ in range(2):
        budget.answered()
    assert budget.pay(1.1)
    for _ in range(10):
        budget.answered()
    assert budget.left == 2.0
    budget.refused()
    assert budget.left == 1.5


def test_a_broken_stream_is_no_word_of_the_server() -> None:
    for code, words in [
        (Code.UNAVAILABLE, "Socket closed"),
        (Code.CANCELLED, "Received RST_STREAM with error code 8"),
        (Code.INTERNAL, "Received RST_STREAM with error code 2"),
        (Code.UNKNOWN, "Stream removed"),
    ]:
        found = failure_of(code, words, ())
        assert found.died
        assert found.error.code == "UNAVAILABLE"
    assert not failure_of(Code.INTERNAL, "a fault", ()).died
    assert not failure_of(Code.UNAVAILABLE, "busy", [("grpc-retry-pushback-ms", "5")]).died


def test_details_that_are_no_details_are_passed_over() -> None:
    found = failure_of(Code.INTERNAL, "words", [("grpc-status-details-bin", b"\xff\xff\xff")])
    assert found.error.details == ()
    retry = details_pb2.RetryInfo(retry_delay=details_pb2.Duration(seconds=1, nanos=500_000_000))
    status = details_pb2.Status(
        details=[details_pb2.Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=retry.SerializeToString())]
    )
    found = failure_of(Code.UNAVAILABLE, "words", [("grpc-status-details-bin", status.SerializeToString())])
    assert found.error.retry_after == pytest.approx(1.5)
