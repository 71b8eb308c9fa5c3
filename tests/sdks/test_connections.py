"""Callers that go away half-way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import cohere
import openai
import pytest
from support import EMBEDDER, QUERY, RERANKER, Door

BIG = 6_000
"""Documents of a job that runs for many times as long as it takes to see that it has begun."""

LONG = " ".join(f"w{n % 290}" for n in range(120))

WITHIN = 60.0
"""Seconds within which what must come has come."""


def until(holds: Callable[[], bool]) -> None:
    """Looks again and again."""
    pause = threading.Event()
    for _ in range(int(WITHIN / 0.02)):
        if holds():
            return
        pause.wait(0.02)
    pytest.fail(f"that did not come about within {WITHIN} s")


def waiting(door: Door) -> float:
    """Tokens that wait in the servers' queues."""
    return sum(server.metrics("sortie_queue_tokens") for server in door.servers)


def done(door: Door) -> float:
    """Tokens that went through the servers' devices."""
    return sum(server.metrics("sortie_device_tokens_total") for server in door.servers)


def texts() -> list[str]:
    """As many long texts, no two of them the same: of equal ones a gateway computes one."""
    rest = LONG.split()[2:]
    return [" ".join([f"w{n % 290}", f"w{n // 290}", *rest]) for n in range(BIG)]


def rerank(door: Door) -> Callable[[], object]:
    """A big job by `cohere`."""
    client = cohere.AsyncClientV2(api_key="none", base_url=door.url)
    return lambda: client.rerank(model=RERANKER, query=QUERY, documents=texts())


def embed(door: Door) -> Callable[[], object]:
    """The same by `openai`, whose patience is ten minutes."""
    client = openai.AsyncOpenAI(base_url=door.url, api_key="none", max_retries=0)
    return lambda: client.embeddings.create(model=EMBEDDER, input=texts())


@pytest.mark.parametrize("job", [rerank, embed])
def test_a_caller_that_goes_away_frees_its_tokens(door: Door, job: Callable[[Door], Callable[[], object]]) -> None:
    before = done(door)

    async def go_away() -> None:
        task = asyncio.ensure_future(job(door)())
        await asyncio.to_thread(until, lambda: waiting(door) > 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go_away())
    until(lambda: waiting(door) == 0 and door.process.metrics("sortie_requests_in_flight") == 0)
    # A job that had gone on would have put all of its tokens through the devices.
    assert done(door) - before < BIG * 120 * 0.9
    if door.kind == "gateway":
        until(lambda: door.process.metrics("sortie_gateway_in_flight_tokens") == 0)
