"""The `cohere` package."""

from __future__ import annotations

import cohere
import pytest
from support import (
    CLASSIFIER,
    DOCUMENTS,
    EMBEDDER,
    QUERY,
    RECORDED_NEAR,
    RERANKER,
    TEXTS,
    Door,
    all_near,
    near,
    ranked,
    recorded,
    sigmoid,
)


@pytest.fixture
def v2(door: Door) -> cohere.ClientV2:
    """Its present form."""
    return cohere.ClientV2(api_key="none", base_url=door.url)


@pytest.fixture
def v1(door: Door) -> cohere.Client:
    """Its older form."""
    return cohere.Client(api_key="none", base_url=door.url)


def test_scores_are_those_of_grpc(v2: cohere.ClientV2, door: Door) -> None:
    wanted = door.grpc.rerank(QUERY, DOCUMENTS)
    answer = v2.rerank(model=RERANKER, query=QUERY, documents=list(DOCUMENTS))
    ranked([(one.index, one.relevance_score) for one in answer.results], wanted)
    assert answer.meta is not None and answer.meta.tokens is not None and answer.meta.tokens.input_tokens
    best = v2.rerank(model=RERANKER, query=QUERY, documents=list(DOCUMENTS), top_n=2)
    ranked([(one.index, one.relevance_score) for one in best.results], wanted, 2)


def test_scores_are_the_recorded_ones(v2: cohere.ClientV2) -> None:
    for case in recorded(RERANKER):
        if case["pair"] and case["text"]:
            answer = v2.rerank(model=RERANKER, query=case["text"], documents=[case["pair"]])
            near([answer.results[0].relevance_score], [sigmoid(case["logits"][0])], RECORDED_NEAR)


def test_the_older_form(v1: cohere.Client, door: Door) -> None:
    wanted = door.grpc.rerank(QUERY, DOCUMENTS)
    answer = v1.rerank(model=RERANKER, query=QUERY, documents=list(DOCUMENTS), return_documents=True, top_n=3)
    ranked([(one.index, one.relevance_score) for one in answer.results], wanted, 3)
    assert [one.document.text for one in answer.results] == [DOCUMENTS[one.index] for one in answer.results]
    objects = v1.rerank(model=RERANKER, query=QUERY, documents=[{"text": text} for text in DOCUMENTS])
    ranked([(one.index, one.relevance_score) for one in objects.results], wanted)


@pytest.mark.parametrize("count", [33, 1316])
def test_many_documents_in_one_post(v2: cohere.ClientV2, door: Door, count: int) -> None:
    many = [f"w{n % 290} w{n % 13} w{n % 7}" for n in range(count)]
    answer = v2.rerank(model=RERANKER, query=QUERY, documents=many)
    assert sorted(one.index for one in answer.results) == list(range(count))
    got = [one.relevance_score for one in answer.results]
    assert got == sorted(got, reverse=True)
    wanted = door.grpc.rerank(QUERY, many)
    near(got, [wanted[one.index] for one in answer.results])


def test_vectors(v2: cohere.ClientV2, v1: cohere.Client, door: Door) -> None:
    wanted = door.grpc.embed(TEXTS)
    answer = v2.embed(
        model=EMBEDDER, texts=list(TEXTS), input_type="search_document", embedding_types=["float", "ubinary", "base64"]
    )
    all_near(answer.embeddings.float_, wanted)
    bits = [[int("".join("01"[x > 0] for x in row[at : at + 8]), 2) for at in range(0, len(row), 8)] for row in wanted]
    assert answer.embeddings.ubinary == bits
    older = v1.embed(model=EMBEDDER, texts=list(TEXTS), input_type="search_query")
    all_near(older.embeddings, wanted)


def test_failures_are_the_packages_own(v2: cohere.ClientV2) -> None:
    with pytest.raises(cohere.NotFoundError, match="nobody"):
        v2.rerank(model="nobody", query=QUERY, documents=list(DOCUMENTS))
    with pytest.raises(cohere.BadRequestError, match="documents"):
        v2.rerank(model=RERANKER, query=QUERY, documents=[])
    with pytest.raises(cohere.BadRequestError, match="query"):
        v2.rerank(model=RERANKER, query=" ", documents=list(DOCUMENTS))
    with pytest.raises(cohere.BadRequestError, match=RERANKER):
        v2.rerank(model=CLASSIFIER, query=QUERY, documents=list(DOCUMENTS))
