"""The `tei-client` package, over HTTP and gRPC. It names no model, so each fleet serves one."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest
import tei_client
from support import CLASSIFIER, DOCUMENTS, EMBEDDER, QUERY, RERANKER, TEXTS, Door, Doors, all_near, near, ranked


@pytest.fixture(params=["http", "http of one server", "grpc"])
def way(request: pytest.FixtureRequest) -> str:
    """How it calls; `tei.v1` is the gateway's only."""
    return str(request.param)


class Clients:
    """Clients of one test."""

    def __init__(self, doors: Doors, way: str) -> None:
        self.doors = doors
        self.way = way
        self.made: list[tei_client.GrpcClient] = []

    def of(self, model: str) -> tuple[tei_client.HttpClient | tei_client.GrpcClient, Door]:
        """A client of the fleet that serves this model."""
        door = self.doors.of("server" if self.way == "http of one server" else "gateway", model)
        if self.way != "grpc":
            return tei_client.HttpClient(door.url, timeout=60), door
        self.made.append(tei_client.GrpcClient(door.address))
        return self.made[-1], door


@pytest.fixture
def clients(doors: Doors, way: str) -> Iterator[Clients]:
    """Clients that are dropped where there is an event loop, which those of gRPC want to close with."""
    clients = Clients(doors, way)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield clients
    clients.made.clear()
    gc.collect()
    asyncio.set_event_loop(None)
    loop.close()


def test_rerank(clients: Clients) -> None:
    tei, door = clients.of(RERANKER)
    answer = tei.rerank(QUERY, list(DOCUMENTS))
    ranked([(one.index, one.score) for one in answer.ranks], door.grpc.rerank(QUERY, DOCUMENTS))
    raw = tei.rerank(QUERY, list(DOCUMENTS), raw_scores=True, return_text=True)
    ranked([(one.index, one.score) for one in raw.ranks], door.grpc.rerank(QUERY, DOCUMENTS, raw=True))
    assert [one.text for one in raw.ranks] == [DOCUMENTS[one.index] for one in raw.ranks]


def test_many_texts(clients: Clients) -> None:
    tei, door = clients.of(RERANKER)
    many = [f"w{n % 290} w{n % 13}" for n in range(1316)]
    answer = tei.rerank(QUERY, many)
    wanted = door.grpc.rerank(QUERY, many)
    assert sorted(one.index for one in answer.ranks) == list(range(len(many)))
    near([one.score for one in answer.ranks], [wanted[one.index] for one in answer.ranks])


def test_embed(clients: Clients) -> None:
    tei, door = clients.of(EMBEDDER)
    all_near(tei.embed(list(TEXTS)), door.grpc.embed(TEXTS))
    all_near(tei.embed(TEXTS[0]), door.grpc.embed(TEXTS[:1]))
    # Its gRPC stubs cannot say false: the field has no presence there, so false is not sent and TEI reads true.
    if clients.way != "grpc":
        all_near(tei.embed(list(TEXTS), normalize=False), door.grpc.embed(TEXTS, normalize=False), 1e-5)


def test_classify(clients: Clients) -> None:
    tei, door = clients.of(CLASSIFIER)
    answer = tei.classify(list(TEXTS))
    for got, wanted in zip(answer, door.grpc.classify(TEXTS), strict=True):
        scores = [one.score for one in got.scores]
        assert scores == sorted(scores, reverse=True)
        assert {one.label for one in got.scores} == set(wanted)
        near(scores, [wanted[one.label] for one in got.scores])


def test_tokens_and_back(clients: Clients) -> None:
    tei, _ = clients.of(EMBEDDER)
    [tokens] = tei.tokenize("w7 w20")
    assert [token.text for token in tokens.tokens if not token.special] == ["w7", "w20"]
    assert [(token.start, token.stop) for token in tokens.tokens if not token.special] == [(0, 2), (3, 6)]
    back = tei.decode([tokens.get_ids()])
    assert back == ["w7 w20"] or back == "w7 w20"


def test_info(clients: Clients) -> None:
    for model, kind in [
        (RERANKER, tei_client.ModelType.Reranker),
        (EMBEDDER, tei_client.ModelType.Embedding),
        (CLASSIFIER, tei_client.ModelType.Classifier),
    ]:
        tei, _ = clients.of(model)
        info = tei.info()
        assert info.server_model_type == kind and info.server_model_id == model
        assert info.max_client_batch_size and info.max_client_batch_size > 1316
        assert tei.health()
