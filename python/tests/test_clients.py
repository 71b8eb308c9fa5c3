"""What both clients do with what they are given, and with answers that are odd."""

from __future__ import annotations

import _thread
import asyncio
import inspect
import os
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from support import Held, Kind, Scripted, Seen, ask, both, facts, scripted

import sortie
from sortie.v1 import encoder_service_pb2 as pb


def test_both_clients_have_the_same_methods() -> None:
    def methods(of: type) -> dict[str, Any]:
        return {name: found for name, found in inspect.getmembers(of, inspect.isfunction) if not name.startswith("_")}

    blocking, awaited = methods(sortie.Client), methods(sortie.AsyncClient)
    assert set(blocking) == set(awaited)
    wanted = (
        "rerank embed embed_tokens embed_sparse classify tag similarity tokenize detokenize models model probe health"
    )
    assert set(wanted.split()) <= set(blocking)
    for name, method in blocking.items():
        assert method.__doc__, name
        assert list(inspect.signature(method).parameters) == list(inspect.signature(awaited[name]).parameters), name
        assert inspect.iscoroutinefunction(awaited[name]) == (name not in ("with_options", "bulk")), name


@both
def test_options_reach_the_wire(kind: Kind) -> None:
    def use(client: Any) -> Any:
        return client.rerank(
            ("query", "second"),
            ["plain", ("first", "second"), sortie.TokenIds([1, 2], [0, 1])],
            truncation="longest_first",
            truncation_side="left",
            max_length=77,
            role="query",
            prompt="look: ",
            plain_text=True,
            activation="model",
            top_n=2,
            windows=sortie.Windows(stride=5, score="mean"),
            job_id="job-7",
            traceparent="00-1-2-01",
            lane="bulk",
        )

    with scripted(lambda seen: pb.RerankResponse(scores=[1, 2, 3], order=[2, 1], items=facts(3))) as server:
        ask(kind, server.address, use, api_key="secret")
        request, metadata = server.seen[0].request, server.seen[0].metadata
    assert request == pb.RerankRequest(
        query={"pair": {"first": "query", "second": "second"}},
        documents=[
            {"text": "plain"},
            {"pair": {"first": "first", "second": "second"}},
            {"tokens": {"ids": [1, 2], "type_ids": [0, 1]}},
        ],
        options={
            "truncation": "TRUNCATION_LONGEST_FIRST",
            "truncation_side": "TRUNCATION_SIDE_LEFT",
            "max_length": 77,
            "role": "ROLE_QUERY",
            "prompt": "look: ",
            "plain_text": True,
        },
        activation="ACTIVATION_MODEL",
        top_n=2,
        windows={"stride": 5, "score": "WINDOW_SCORE_MEAN"},
    )
    assert metadata["sortie-job-id"] == "job-7"
    assert metadata["traceparent"] == "00-1-2-01"
    assert metadata["sortie-lane"] == "bulk"
    assert metadata["authorization"] == "Bearer secret"


@both
def test_the_trace_is_asked_for_with_every_call(kind: Kind) -> None:
    context = iter([{"traceparent": "00-a", "tracestate": "x=1", "baggage": "no"}, {"traceparent": "bad\nheader"}])
    with scripted() as server:
        for _ in range(2):
            ask(kind, server.address, lambda c: c.embed(["a"]), trace_context=lambda: next(context))
        first, second = (seen.metadata for seen in server.seen)
    assert (first["traceparent"], first["tracestate"], "baggage" in first) == ("00-a", "x=1", False)
    assert "traceparent" not in second


@both
@pytest.mark.parametrize(
    ("use", "kind_of_error", "words"),
    [
        (lambda c: c.embed("one text"), TypeError, "inputs is one text"),
        (lambda c: c.embed(["a", None]), TypeError, r"inputs\[1\] is of type NoneType"),
        (lambda c: c.rerank("q", [("a", "b", "c")]), TypeError, r"documents\[0\]"),
        (lambda c: c.rerank("q", ["a"], activation="tanh"), sortie.SortieError, "'raw', 'sigmoid', 'softmax', 'model'"),
        (lambda c: c.embed(["a"], dimensions=0), sortie.SortieError, "dimensions is 0"),
        (lambda c: c.embed(["a"], dimensions=1.5), sortie.SortieError, "dimensions is 1.5"),
        (lambda c: c.embed(["a\ud800"]), sortie.SortieError, r"inputs\[0\] is not Unicode text"),
        (lambda c: c.embed([sortie.TokenIds([-1])]), sortie.SortieError, r"inputs\[0\]"),
        (lambda c: c.embed(["a"], lane="express"), sortie.SortieError, "lane is 'express'"),
        (lambda c: c.embed(["a"], tenant="\u00e9"), sortie.SortieError, "tenant must be"),
        (lambda c: c.embed(["a"], job_id="x" * 129), sortie.SortieError, "job_id must be"),
        (lambda c: c.embed(["a"], timeout=0), ValueError, "timeout is 0"),
        (lambda c: c.tag(["a"], ignore_labels="O"), TypeError, "ignore_labels is one text"),
        (lambda c: c.tag(["a"], labels="person"), TypeError, "labels is one text"),
        (lambda c: c.detokenize(["text"]), TypeError, "token ids"),
        (lambda c: c.embed(["a"], ranges=sortie.Ranges([1.0], [1.0, 2.0])), sortie.SortieError, "ranges have shapes"),
    ],
)
def test_what_makes_no_sense_is_refused_unsent(kind: Kind, use: Any, kind_of_error: Any, words: str) -> None:
    with scripted() as server:
        with pytest.raises(kind_of_error, match=words) as caught:
            ask(kind, server.address, use)
        assert not server.seen
    if kind_of_error is sortie.SortieError:
        assert caught.value.code == "INVALID_ARGUMENT"
        assert caught.value.field


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"address": "ftp://a:1"}, "must be http://"),
        ({"address": "http://user:word@a:1"}, "use api_key"),
        ({"address": "http://a:1/path"}, "must be http://"),
        ({"address": "a:99999"}, "port"),
        ({"address": ""}, "must be http://"),
        ({"address": "http://a:1", "tls": sortie.Tls()}, "says http"),
        ({"address": "a:1", "lane": "express"}, "lane is 'express'"),
        ({"address": "a:1", "timeout": float("nan")}, "timeout is nan"),
        ({"address": "a:1", "max_message_bytes": 0}, "max_message_bytes"),
        ({"address": "a:1", "retries": sortie.Retries(max_attempts=0)}, "max_attempts"),
    ],
)
@pytest.mark.parametrize("make", [sortie.Client, sortie.AsyncClient])
def test_settings_that_make_no_sense_are_refused(make: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(**settings)


def test_addresses() -> None:
    def target(address: str, **settings: Any) -> Any:
        return sortie.Client(address, **settings)._settings.target()

    assert target("http://a:5") == ("a:5", False)
    assert target("https://a") == ("a:443", True)
    assert target("a:5") == ("a:5", False)
    assert target("a:5", tls=sortie.Tls()) == ("a:5", True)
    assert target("http://[::1]:5") == ("[::1]:5", False)


def test_secrets_are_not_shown() -> None:
    client = sortie.Client("a:1", api_key="secret-key")
    assert "secret-key" not in repr(client) + repr(client._settings)
    assert "secret-key" not in repr(sortie.Tls(certificate=b"c", key=b"secret-key"))


@both
def test_a_failed_item_leaves_the_others(kind: Kind) -> None:
    def two(seen: Seen) -> Any:
        rows = np.array([[1, 2], [np.nan, np.nan], [5, 6]], "<f4")
        return pb.EmbedResponse(vectors=rows.tobytes(), dimensions=2, format="VECTOR_FORMAT_F32", items=facts(3, 1))

    with scripted(two) as server:
        found = ask(kind, server.address, lambda c: c.embed(["a", "b", "c"]))
    assert np.isnan(found.vectors).tolist() == [[False] * 2, [True] * 2, [False] * 2]
    assert found.errors == (sortie.ItemError(1, "TOO_LONG", "too long"),)
    assert found.items.tokens.tolist() == [3, 0, 3]


@both
@pytest.mark.parametrize(
    ("use", "response"),
    [
        (lambda c: c.rerank("q", ["a"]), pb.RerankResponse(scores=[1, 2], items=facts(1))),
        (lambda c: c.rerank("q", ["a"]), pb.RerankResponse(scores=[1], order=[1], items=facts(1))),
        (lambda c: c.rerank("q", ["a"]), pb.RerankResponse(scores=[1], items=facts(2))),
        (lambda c: c.rerank("q", ["a"]), pb.RerankResponse(scores=[1], items=facts(1, 4))),
        (lambda c: c.embed(["a"]), pb.EmbedResponse(vectors=b"123", dimensions=1, items=facts(1))),
        (lambda c: c.embed(["a"]), pb.EmbedResponse(vectors=b"1234", dimensions=1, format=99, items=facts(1))),
        (lambda c: c.embed_tokens(["a"]), pb.EmbedTokensResponse(dimensions=1, items=facts(1))),
        (lambda c: c.embed_tokens(["a"]), pb.EmbedTokensResponse(dimensions=1, matrices=[{"rows": 2}], items=facts(1))),
        (
            lambda c: c.embed_sparse(["a"]),
            pb.EmbedSparseResponse(offsets=[0, 2], indices=[1], weights=[1], items=facts(1)),
        ),
        (lambda c: c.embed_sparse(["a"]), pb.EmbedSparseResponse(offsets=[0, 1], indices=[1], items=facts(1))),
        (lambda c: c.classify(["a"]), pb.ClassifyResponse(labels=["x", "y"], scores=[1], items=facts(1))),
        (
            lambda c: c.tag(["a"], token_scores=True),
            pb.TagTokensResponse(texts=[{"token_scores": [1]}], items=facts(1)),
        ),
        (lambda c: c.tokenize(["a"]), pb.TokenizeResponse(inputs=[{"ids": [1]}], items=facts(1))),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(kind: Kind, use: Any, response: Any) -> None:
    with scripted(then=lambda seen: response) as server, pytest.raises(sortie.SortieError) as caught:
        ask(kind, server.address, use)
    assert (caught.value.code, caught.value.reason) == ("INTERNAL", "PROTOCOL")


@both
def test_messages_that_are_too_large(kind: Kind) -> None:
    with scripted() as server:
        with pytest.raises(sortie.SortieError) as caught:
            ask(kind, server.address, lambda c: c.embed(["x" * 2_000]), max_message_bytes=1_000)
        assert not server.seen
        assert (caught.value.code, caught.value.reason) == ("OUT_OF_RANGE", "MESSAGE_TOO_LARGE")
        assert caught.value.facts["max_message_bytes"] == "1000"
    large = pb.EmbedResponse(vectors=bytes(4 * 1_000), dimensions=1_000, items=facts(1))
    with scripted(then=lambda seen: large) as server:
        with pytest.raises(sortie.SortieError) as caught:
            ask(kind, server.address, lambda c: c.embed(["x"]), max_message_bytes=1_000)
        assert len(server.seen) == 1, "it would be too large again"
    assert (caught.value.code, caught.value.reason) == ("OUT_OF_RANGE", "MESSAGE_TOO_LARGE")


def test_a_cancelled_task_cancels_the_call_at_the_server() -> None:
    held = Held()

    async def go(server: Scripted) -> None:
        async with sortie.AsyncClient(server.address) as client:
            task = asyncio.create_task(client.embed(["a"]))
            await asyncio.to_thread(held.began.wait, 30)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(held.cancelled)

    with scripted(then=held) as server:
        asyncio.run(go(server))
        assert len(server.seen) == 1


def test_closing_ends_calls_under_way() -> None:
    held = Held()
    errors: list[BaseException] = []
    with scripted(then=held) as server:
        client = sortie.Client(server.address)

        def call() -> None:
            try:
                client.embed(["a"])
            except sortie.SortieError as error:
                errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        assert held.began.wait(30)
        client.close()
        thread.join(30)
        assert held.cancelled()
    assert [getattr(error, "code", None) for error in errors] == ["CANCELLED"]
    with pytest.raises(RuntimeError, match="closed"):
        client.embed(["a"])


def test_an_interrupted_call_is_cancelled_at_the_server() -> None:
    held = Held()

    def interrupt() -> None:
        assert held.began.wait(30)
        _thread.interrupt_main()

    with scripted(then=held) as server, sortie.Client(server.address) as client:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            client.embed(["a"])
        thread.join()
        assert held.cancelled()


def test_closing_ends_awaited_calls_under_way() -> None:
    held = Held()

    async def go(server: Scripted) -> None:
        client = sortie.AsyncClient(server.address)
        task = asyncio.create_task(client.embed(["a"]))
        await asyncio.to_thread(held.began.wait, 30)
        await client.close()
        with pytest.raises(sortie.SortieError) as caught:
            await task
        assert caught.value.code == "CANCELLED"
        with pytest.raises(RuntimeError, match="closed"):
            await client.embed(["a"])

    with scripted(then=held) as server:
        asyncio.run(go(server))


def test_no_thread_is_left() -> None:
    with scripted() as server:
        before = set(threading.enumerate())
        with sortie.Client(server.address) as client:
            client.embed(["a"])
            list(client.bulk(["a"] * 100, lambda c, part: c.embed(part), slice_tokens=10))
        ours = [t for t in set(threading.enumerate()) - before if t.name.startswith("sortie")]
    assert not ours


@both
def test_a_forked_process_is_refused(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.getpid()

    def use(client: Any) -> Any:
        if kind == "sync":
            client.embed(["a"])
            monkeypatch.setattr(os, "getpid", lambda: here + 1)
            return client.embed(["a"])

        async def go() -> Any:
            await client.embed(["a"])
            monkeypatch.setattr(os, "getpid", lambda: here + 1)
            return await client.embed(["a"])

        return go()

    with scripted() as server, pytest.raises(RuntimeError, match="forked"):
        try:
            ask(kind, server.address, use)
        finally:
            monkeypatch.setattr(os, "getpid", lambda: here)


def test_a_client_belongs_to_its_event_loop() -> None:
    with scripted() as server:
        client = sortie.AsyncClient(server.address)
        asyncio.run(client.embed(["a"]))
        with pytest.raises(RuntimeError, match="event loop"):
            asyncio.run(client.embed(["a"]))


def test_other_defaults_share_the_connection() -> None:
    with scripted() as server, sortie.Client(server.address, model="one") as client:
        other = client.with_options(model="two", lane="bulk", tenant="night")
        client.embed(["a"])
        other.embed(["a"])
        other.embed(["a"], lane="interactive", model="three")
        assert [seen.metadata["sortie-model"] for seen in server.seen] == ["one", "two", "three"]
        assert [seen.metadata["sortie-lane"] for seen in server.seen] == ["interactive", "bulk", "interactive"]
        assert len({seen.context.peer() for seen in server.seen}) == 1


def test_errors_cross_processes() -> None:
    error = sortie.SortieError(
        "RESOURCE_EXHAUSTED", "full", reason="QUEUE_FULL", retry_after=0.5, retryable=True, facts={"a": "b"}, attempts=3
    )
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


def test_threads_may_share_a_client() -> None:
    with scripted() as server, sortie.Client(server.address) as client:
        found: list[float] = []

        def work(n: int) -> None:
            for i in range(20):
                found.append(float(client.embed([f"x {n * 20 + i}"]).vectors[0, 0]))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(found) == [float(i) for i in range(160)]
