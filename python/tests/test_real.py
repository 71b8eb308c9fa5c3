"""Both clients against a real server on tiny models, whose answers were recorded by the libraries they come from."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme
from support import Kind, RealServer, ask, both, expected, tiny

import sortie

TOLERANCE = 1e-4


def cases(folder: Path, pairs: bool) -> list[dict[str, Any]]:
    return [case for case in expected(folder)["cases"] if (case["pair"] is not None) == pairs]


@both
def test_reranking_is_as_recorded(server: RealServer, folders: dict[str, Path], kind: Kind) -> None:
    recorded = cases(folders["bert-rerank"], pairs=True)
    assert len(recorded) > 3
    for case in recorded:
        documents = [case["pair"], "w1", case["pair"]]
        answer = ask(
            kind,
            server.address,
            lambda c, case=case, documents=documents: c.rerank(case["text"], documents, model="bert-rerank", top_n=2),
        )
        assert answer.scores.dtype == np.float32
        assert answer.scores.shape == (3,)
        np.testing.assert_allclose(answer.scores[[0, 2]], case["logits"][0], atol=TOLERANCE)
        assert answer.scoring == "cross_encoder"
        assert answer.items.tokens[0] == len(case["input_ids"])
        assert not answer.errors
        assert list(answer.order) == list(answer.ranking()[:2])
        assert answer.chunk.model == "bert-rerank"
        assert answer.chunk.tokens == answer.items.tokens.sum()


@both
def test_an_activation_is_applied(server: RealServer, folders: dict[str, Path], kind: Kind) -> None:
    case = cases(folders["bert-rerank"], pairs=True)[0]
    answer = ask(
        kind,
        server.address,
        lambda c: c.rerank(case["text"], [case["pair"]], model="bert-rerank", activation="sigmoid"),
    )
    np.testing.assert_allclose(answer.scores[0], 1 / (1 + np.exp(-case["logits"][0])), atol=TOLERANCE)


@both
def test_embeddings_are_as_recorded(server: RealServer, folders: dict[str, Path], kind: Kind) -> None:
    recorded = cases(folders["bert-base"], pairs=False)
    texts = [case["text"] for case in recorded]
    for pooling in ("mean", "cls"):
        answer = ask(
            kind,
            server.address,
            lambda c, pooling=pooling: c.embed(texts, model="bert-base", pooling=pooling, normalize=False),
        )
        assert answer.vectors.shape == (len(texts), 64)
        assert answer.vectors.dtype == np.float32
        assert not answer.vectors.flags.writeable
        np.testing.assert_allclose(answer.vectors, [case[pooling] for case in recorded], atol=TOLERANCE)


@both
def test_ids_and_pairs_are_inputs_too(server: RealServer, folders: dict[str, Path], kind: Kind) -> None:
    pair = cases(folders["bert-base"], pairs=True)[0]
    ids = sortie.TokenIds(pair["input_ids"], pair["token_type_ids"])
    answer = ask(
        kind,
        server.address,
        lambda c: c.embed([(pair["text"], pair["pair"]), ids], model="bert-base", pooling="mean", normalize=False),
    )
    np.testing.assert_allclose(answer.vectors, [pair["mean"], pair["mean"]], atol=TOLERANCE)


@both
def test_every_format_is_read(server: RealServer, folders: dict[str, Path], kind: Kind) -> None:
    texts = [case["text"] for case in cases(folders["bert-base"], pairs=False)]

    def embed(**options: Any) -> Any:
        return ask(kind, server.address, lambda c: c.embed(texts, model="bert-base", normalize=True, **options))

    exact = embed().vectors
    half = embed(format="f16")
    assert half.vectors.dtype == np.float16
    np.testing.assert_allclose(half.vectors, exact, atol=2e-3)
    ranges = sortie.Ranges(starts=np.full(64, -1.0), ends=np.full(64, 1.0))
    step = 2.0 / 255
    unsigned = embed(format="uint8", ranges=ranges)
    assert unsigned.vectors.dtype == np.uint8
    np.testing.assert_allclose(unsigned.vectors * step - 1.0, exact, atol=step * 1.01)
    np.testing.assert_array_equal(unsigned.ranges.starts, ranges.starts)
    signed = embed(format="int8", ranges=ranges)
    assert signed.vectors.dtype == np.int8
    np.testing.assert_array_equal(signed.vectors.astype(int) + 128, unsigned.vectors)
    bits = embed(format="ubinary")
    assert bits.vectors.shape == (len(texts), 8)
    np.testing.assert_array_equal(np.unpackbits(bits.vectors, axis=1), exact > 0)
    np.testing.assert_array_equal(embed(format="binary").vectors.astype(int) + 128, bits.vectors)
    short = embed(dimensions=12)
    assert short.vectors.shape == (len(texts), 12)
    assert embed(format="ubinary", dimensions=12).vectors.shape == (len(texts), 2)
    np.testing.assert_allclose(short.vectors, exact[:, :12] / np.linalg.norm(exact[:, :12], axis=1)[:, None], atol=1e-5)


@both
def test_a_table_of_vectors_is_as_recorded(server: RealServer, folders: dict[str, Path], kind: Kind) -> None:
    recorded = expected(folders["static-st"])
    answer = ask(kind, server.address, lambda c: c.embed(recorded["texts"], model="static-st"))
    np.testing.assert_allclose(answer.vectors, recorded["vectors"], atol=TOLERANCE)


@both
def test_sparse_vectors_are_as_recorded(server: RealServer, folders: dict[str, Path], kind: Kind) -> None:
    recorded = expected(folders["splade-sum"])
    answer = ask(kind, server.address, lambda c: c.embed_sparse(recorded["texts"], model="splade-sum"))
    assert len(answer) == len(recorded["texts"])
    for (indices, weights), vector in zip(answer, recorded["vectors"], strict=True):
        wanted = {int(index): weight for index, weight in vector.items()}
        found = dict(zip(indices.tolist(), weights.tolist(), strict=True))
        for index in wanted.keys() | found.keys():
            assert abs(wanted.get(index, 0.0) - found.get(index, 0.0)) < 1e-3
    top = ask(kind, server.address, lambda c: c.embed_sparse(recorded["texts"], model="splade-sum", top_k=3))
    assert list(np.diff(top.offsets)) == [3, 3]


@both
def test_token_vectors_are_as_recorded_and_can_be_kept(
    server: RealServer, folders: dict[str, Path], kind: Kind
) -> None:
    recorded = expected(folders["bert-mve-plain"])
    model = "bert-mve-plain"
    answer = ask(
        kind, server.address, lambda c: c.embed_tokens(recorded["documents"], model=model, role="document", places=True)
    )
    for matrix, wanted in zip(answer.matrices, recorded["document_vectors"], strict=True):
        np.testing.assert_allclose(matrix.vectors, wanted, atol=TOLERANCE)
        assert matrix.places.shape == (matrix.rows,)
    small = ask(
        kind,
        server.address,
        lambda c: c.embed_tokens(recorded["documents"], model=model, role="document", format="int8"),
    )
    for matrix, wanted in zip(small.matrices, recorded["document_vectors"], strict=True):
        assert matrix.vectors.dtype == np.int8
        np.testing.assert_allclose(matrix.floats(), wanted, atol=0.01)
    kept = [sortie.TokenVectors(matrix, answer.dimensions, answer.format) for matrix in answer.matrices]
    query = recorded["queries"][0]
    again = ask(kind, server.address, lambda c: c.rerank(query, kept, model=model))
    fresh = ask(kind, server.address, lambda c: c.rerank(query, recorded["documents"], model=model))
    assert again.scoring == "maxsim"
    np.testing.assert_allclose(again.scores, fresh.scores, atol=TOLERANCE)
    np.testing.assert_allclose(fresh.scores, recorded["maxsim"][0], atol=1e-3)


@both
def test_classes_are_as_recorded(server: RealServer, folders: dict[str, Path], kind: Kind) -> None:
    recorded = cases(folders["bert-classify3"], pairs=False)
    texts = [case["text"] for case in recorded]
    answer = ask(kind, server.address, lambda c: c.classify(texts, model="bert-classify3", activation="raw"))
    assert answer.labels == ("NEG", "NEU", "POS")
    assert answer.activation == "raw"
    np.testing.assert_allclose(answer.scores, [case["logits"] for case in recorded], atol=TOLERANCE)
    own = ask(kind, server.address, lambda c: c.classify(texts, model="bert-classify3"))
    assert own.activation == "softmax"
    np.testing.assert_allclose(own.scores.sum(axis=1), 1.0, atol=1e-5)


@both
def test_tags_are_as_recorded_and_count_characters(server: RealServer, folders: dict[str, Path], kind: Kind) -> None:
    recorded = cases(folders["bert-tokens5"], pairs=False)
    texts = [case["text"] for case in recorded]
    answer = ask(
        kind,
        server.address,
        lambda c: c.tag(texts, model="bert-tokens5", activation="raw", token_scores=True, ignore_labels=["none"]),
    )
    for found, case in zip(answer.texts, recorded, strict=True):
        np.testing.assert_allclose(found.token_scores, case["logits"], atol=TOLERANCE)
    text = "w5 \u00e9\U0001f600 w7 w9"
    odd = ask(
        kind,
        server.address,
        lambda c: c.tag([text], model="bert-tokens5", aggregation="none", ignore_labels=["nothing"]),
    )
    spans = odd.texts[0].spans
    assert [text[span.start : span.end] for span in spans if text[span.start : span.end].startswith("w")] == [
        "w5",
        "w7",
        "w9",
    ]
    for span in spans:
        assert text.encode()[span.byte_start : span.byte_end].decode() == text[span.start : span.end]
    assert odd.texts[0].token_scores is None


@both
def test_similarity_is_the_cosine(server: RealServer, kind: Kind) -> None:
    texts = ["w5 w6", "w7", "w8 w9 w10"]
    vectors = ask(kind, server.address, lambda c: c.embed(texts, model="bert-base", normalize=True)).vectors
    answer = ask(kind, server.address, lambda c: c.similarity(texts[0], texts, model="bert-base"))
    np.testing.assert_allclose(answer.scores, vectors @ vectors[0], atol=TOLERANCE)


@both
def test_tokens_go_both_ways(server: RealServer, folders: dict[str, Path], kind: Kind) -> None:
    case = next(case for case in cases(folders["bert-base"], pairs=False) if case["text"])
    answer = ask(kind, server.address, lambda c: c.tokenize([case["text"]], model="bert-base"))
    tokens = answer.inputs[0]
    assert tokens.ids.tolist() == case["input_ids"]
    assert tokens.special.tolist() == [True] + [False] * (len(tokens.ids) - 2) + [True]
    data = case["text"].encode()
    assert data[tokens.byte_starts[1] : tokens.byte_ends[1]].decode() == tokens.tokens[1]
    bare = ask(kind, server.address, lambda c: c.tokenize([case["text"]], model="bert-base", special_tokens=False))
    assert bare.inputs[0].ids.tolist() == case["input_ids"][1:-1]
    back = ask(
        kind,
        server.address,
        lambda c: c.detokenize(
            [tokens.ids, sortie.TokenIds(case["input_ids"])], model="bert-base", skip_special_tokens=True
        ),
    )
    assert back.texts == (case["text"], case["text"])


@both
def test_windows_read_what_is_too_long(server: RealServer, kind: Kind) -> None:
    long = " ".join(f"w{i % 290}" for i in range(400))
    windows = sortie.Windows(stride=16)
    answer = ask(kind, server.address, lambda c: c.rerank("w3", [long, "w5"], model="bert-rerank", windows=windows))
    assert answer.items.windows.tolist()[0] > 1
    assert answer.items.windows.tolist()[1] == 1
    assert not answer.items.truncated.any()
    cut = ask(kind, server.address, lambda c: c.rerank("w3", [long, "w5"], model="bert-rerank"))
    assert cut.items.truncated.tolist() == [True, False]
    assert cut.items.windows is None


@both
def test_an_item_that_fails_is_its_own(server: RealServer, kind: Kind) -> None:
    long = " ".join("w5" for _ in range(400))
    answer = ask(
        kind, server.address, lambda c: c.rerank("w3", ["w5", long, "w6"], model="bert-rerank", truncation="error")
    )
    assert np.isnan(answer.scores).tolist() == [False, True, False]
    assert [(error.index, error.reason) for error in answer.errors] == [(1, "TOO_LONG")]
    assert sorted(answer.ranking().tolist()) == [0, 2]
    with pytest.raises(sortie.SortieError, match="item 1") as caught:
        answer.raise_for_errors()
    assert caught.value.reason == "TOO_LONG"
    vectors = ask(kind, server.address, lambda c: c.embed(["w5", long], model="bert-base", truncation="error")).vectors
    assert np.isnan(vectors[1]).all()
    assert np.isfinite(vectors[0]).all()


@both
@pytest.mark.parametrize(
    ("use", "code", "reason", "field"),
    [
        (lambda c: c.rerank("", ["w1"], model="bert-rerank"), "INVALID_ARGUMENT", "EMPTY_QUERY", "query"),
        (lambda c: c.embed([], model="bert-base"), "INVALID_ARGUMENT", "EMPTY_LIST", "inputs"),
        (lambda c: c.embed(["w"] * 101, model="bert-base"), "INVALID_ARGUMENT", "TOO_MANY_ITEMS", "inputs"),
        (lambda c: c.embed(["w"], model="absent"), "NOT_FOUND", "UNKNOWN_MODEL", "model"),
        (lambda c: c.embed(["w"]), "INVALID_ARGUMENT", "MODEL_NOT_NAMED", "model"),
        (lambda c: c.embed(["w"], model="bert-rerank"), "FAILED_PRECONDITION", "WRONG_TASK", None),
        (
            lambda c: c.embed(["w"], model="bert-base", max_length=100_000),
            "INVALID_ARGUMENT",
            "BAD_MAX_LENGTH",
            "options.max_length",
        ),
    ],
)
def test_refusals_name_the_field(
    server: RealServer, kind: Kind, use: Any, code: str, reason: str, field: str | None
) -> None:
    with pytest.raises(sortie.SortieError) as caught:
        ask(kind, server.address, use)
    error = caught.value
    assert (error.code, error.reason, error.field) == (code, reason, field)
    assert not error.retryable
    assert error.attempts == 1
    assert any(name == "google.rpc.ErrorInfo" for name, _ in error.details)


@both
def test_a_limit_is_among_the_facts(server: RealServer, kind: Kind) -> None:
    with pytest.raises(sortie.SortieError) as caught:
        ask(kind, server.address, lambda c: c.embed(["w"] * 101, model="bert-base"))
    assert "100" in caught.value.facts.values()


@both
def test_models_are_described(server: RealServer, folders: dict[str, Path], kind: Kind) -> None:
    models = ask(kind, server.address, lambda c: c.models())
    assert [model.name for model in models] == sorted(folders)
    by_name = {model.name: model for model in models}
    assert by_name["bert-classify3"].task == "classify"
    assert by_name["bert-classify3"].labels == ("NEG", "NEU", "POS")
    assert by_name["bert-base"].dimensions == 64
    assert by_name["bert-base"].state == "ready"
    assert by_name["bert-mve-plain"].roles == ("query", "document")
    assert by_name["bert-base"].limits.max_items == 100
    assert ask(kind, server.address, lambda c: c.model("bert-rerank")) == by_name["bert-rerank"]
    assert ask(kind, server.address, lambda c: c.model(), model="bert-base") == by_name["bert-base"]


@both
def test_load_and_health_are_told(server: RealServer, kind: Kind) -> None:
    load = ask(kind, server.address, lambda c: c.probe("bert-base", tokens=100))
    assert load.limits.max_batch_tokens > 0
    assert load.state == "ready"
    assert load.replica
    assert ask(kind, server.address, lambda c: c.health()) == "serving"
    assert ask(kind, server.address, lambda c: c.health("bert-base")) == "serving"
    with pytest.raises(sortie.SortieError) as caught:
        ask(kind, server.address, lambda c: c.health("absent"))
    assert caught.value.code == "NOT_FOUND"


@both
def test_bulk_gives_what_single_calls_give(server: RealServer, kind: Kind) -> None:
    texts = [f"w{i % 290} w{i % 7}" for i in range(500)]
    options = {"slice_tokens": 64, "in_flight": 3}
    if kind == "sync":
        with sortie.Client(server.address, model="bert-base") as client:
            parts = list(client.bulk(texts, lambda c, part: c.embed(part), **options))
            single = client.embed(texts[100:200]).vectors
    else:

        async def go() -> Any:
            async with sortie.AsyncClient(server.address, model="bert-base") as client:
                run = client.bulk(texts, lambda c, part: c.embed(part), **options)
                return [part async for part in run], (await client.embed(texts[100:200])).vectors

        parts, single = asyncio.run(go())
    assert len(parts) > 20
    assert [part.start for part in parts] == [0, *(part.end for part in parts[:-1])]
    vectors = np.concatenate([part.answer.vectors for part in parts])
    np.testing.assert_allclose(vectors[100:200], single, atol=1e-5)


@both
def test_certificates_and_keys(tmp_path: Path, kind: Kind) -> None:
    authority = trustme.CA()
    server_cert, client_cert = authority.issue_cert("localhost"), authority.issue_cert("caller@example.org")
    files = {
        "cert": b"".join(blob.bytes() for blob in server_cert.cert_chain_pems),
        "key": server_cert.private_key_pem.bytes(),
        "ca": authority.cert_pem.bytes(),
        "keys": b"search: a-key-of-sixteen-letters-or-more\n",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
    at = {name: str(tmp_path / name) for name in files}
    flags = ["--tls-cert", at["cert"], "--tls-key", at["key"], "--tls-client-ca", at["ca"], "--api-keys", at["keys"]]
    server = RealServer(tmp_path, {"bert-base": tiny("bert-base")}, *flags)
    try:
        address = f"https://localhost:{server.address.rpartition(':')[2]}"
        mutual = sortie.Tls(
            ca=tmp_path / "ca",
            certificate=client_cert.cert_chain_pems[0].bytes(),
            key=client_cert.private_key_pem.bytes(),
        )
        key = "a-key-of-sixteen-letters-or-more"
        answer = ask(kind, address, lambda c: c.embed(["w5"]), tls=mutual, api_key=key)
        assert answer.vectors.shape == (1, 64)
        assert ask(kind, address, lambda c: c.embed(["w5"]), tls=mutual, api_key=lambda: key).vectors.shape == (1, 64)
        with pytest.raises(sortie.SortieError) as caught:
            ask(kind, address, lambda c: c.embed(["w5"]), tls=mutual, api_key="another")
        assert (caught.value.code, caught.value.attempts) == ("UNAUTHENTICATED", 1)
        assert "another" not in repr(caught.value) + str(caught.value)
        once = sortie.Retries(max_attempts=1)
        for wrong in (sortie.Tls(ca=tmp_path / "ca"), sortie.Tls(ca=trustme.CA().cert_pem.bytes())):
            with pytest.raises(sortie.SortieError) as caught:
                ask(kind, address, lambda c: c.embed(["w5"]), tls=wrong, api_key=key, retries=once)
            assert caught.value.code == "UNAVAILABLE"
    finally:
        server.stop()
