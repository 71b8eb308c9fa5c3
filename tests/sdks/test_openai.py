"""The `openai` package."""

from __future__ import annotations

import openai
import pytest
from support import EMBEDDER, RECORDED_NEAR, TEXTS, Door, all_near, near, recorded, texts


@pytest.fixture(params=["", "/v1"])
def client(request: pytest.FixtureRequest, door: Door) -> openai.OpenAI:
    """A client whose base has /v1, or leaves it out."""
    return openai.OpenAI(base_url=door.url + request.param, api_key="none", max_retries=0)


def test_vectors_are_those_of_grpc(client: openai.OpenAI, door: Door) -> None:
    wanted = door.grpc.embed(TEXTS)
    # Without arguments it asks for base64.
    answer = client.embeddings.create(model=EMBEDDER, input=list(TEXTS))
    assert [one.index for one in answer.data] == list(range(len(TEXTS)))
    all_near([one.embedding for one in answer.data], wanted)
    assert answer.model == EMBEDDER
    used = door.grpc.tokens("Embed", model=EMBEDDER, inputs=texts(TEXTS))
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == used > len(TEXTS)
    numbers = client.embeddings.create(model=EMBEDDER, input=list(TEXTS), encoding_format="float")
    all_near([one.embedding for one in numbers.data], wanted)
    text = client.embeddings.create(model=EMBEDDER, input=TEXTS[0])
    near(text.data[0].embedding, wanted[0])


def test_vectors_are_the_recorded_ones(client: openai.OpenAI) -> None:
    cases = [case for case in recorded(EMBEDDER) if case["text"] and case["pair"] is None]
    answer = client.embeddings.create(model=EMBEDDER, input=[case["text"] for case in cases])
    for one, case in zip(answer.data, cases, strict=True):
        length = sum(x * x for x in case["mean"]) ** 0.5
        near(one.embedding, [x / length for x in case["mean"]], RECORDED_NEAR)


def test_fewer_dimensions(client: openai.OpenAI, door: Door) -> None:
    answer = client.embeddings.create(model=EMBEDDER, input=list(TEXTS), dimensions=16)
    all_near([one.embedding for one in answer.data], door.grpc.embed(TEXTS, dimensions=16))


def test_models(client: openai.OpenAI) -> None:
    served = [model.id for model in client.models.list()]
    assert EMBEDDER in served
    assert client.models.retrieve(EMBEDDER).id == EMBEDDER


def test_failures_are_the_packages_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.embeddings.create(model="nobody", input="w7")
    assert unknown.value.code == "model_not_found" and "nobody" in str(unknown.value)
    with pytest.raises(openai.BadRequestError) as empty:
        client.embeddings.create(model=EMBEDDER, input=["w7", ""])
    assert empty.value.param == "input" or "input[1]" in str(empty.value)
    with pytest.raises(openai.BadRequestError) as ids:
        client.embeddings.create(model=EMBEDDER, input=[[1, 2, 3]])
    assert "check_embedding_ctx_length" in str(ids.value)


@pytest.mark.parametrize("count", [33, 1316])
def test_many_texts_in_one_post(client: openai.OpenAI, door: Door, count: int) -> None:
    many = [f"w{n % 290} w{n % 17}" for n in range(count)]
    answer = client.embeddings.create(model=EMBEDDER, input=many)
    all_near([one.embedding for one in answer.data], door.grpc.embed(many))
