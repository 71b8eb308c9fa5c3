"""What frameworks bring: LangChain, LlamaIndex, Haystack, LiteLLM, the hub's and Baseten's clients, unmodified."""

from __future__ import annotations

import asyncio

import numpy
import pytest
from support import CLASSIFIER, DOCUMENTS, EMBEDDER, QUERY, RERANKER, SPLADE, TEXTS, Door, Doors, all_near, near, ranked

MANY = [f"w{n % 290} w{n % 13} w{n % 7}" for n in range(1316)]


class TestLangChain:
    """`langchain-openai` and `langchain-cohere`."""

    def test_openai(self, door: Door) -> None:
        from langchain_openai import OpenAIEmbeddings

        settings = {"base_url": door.url + "/v1", "api_key": "none", "model": EMBEDDER, "max_retries": 0}
        model = OpenAIEmbeddings(check_embedding_ctx_length=False, **settings)
        wanted = door.grpc.embed(TEXTS)
        all_near(model.embed_documents(list(TEXTS)), wanted)
        near(model.embed_query(TEXTS[0]), wanted[0])
        all_near(asyncio.run(model.aembed_documents(list(TEXTS))), wanted)

    def test_token_ids_are_refused_with_the_cure(self, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
        import openai
        import tiktoken
        from langchain_openai import OpenAIEmbeddings

        # Its vocabulary comes from the network; the numbers do not matter here, only that numbers are sent.
        encoding = tiktoken.Encoding(
            "bytes", pat_str=".", mergeable_ranks={bytes([n]): n for n in range(256)}, special_tokens={}
        )
        monkeypatch.setattr(tiktoken, "encoding_for_model", lambda _: encoding)
        monkeypatch.setattr(tiktoken, "get_encoding", lambda _: encoding)
        model = OpenAIEmbeddings(base_url=door.url + "/v1", api_key="none", model=EMBEDDER, max_retries=0)
        with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
            model.embed_documents(["w7 w20"])

    def test_cohere(self, door: Door) -> None:
        from langchain_cohere import CohereEmbeddings, CohereRerank
        from langchain_core.documents import Document

        reranker = CohereRerank(cohere_api_key="none", base_url=door.url, model=RERANKER, top_n=4)
        wanted = door.grpc.rerank(QUERY, DOCUMENTS)
        answer = reranker.rerank(list(DOCUMENTS), QUERY)
        ranked([(one["index"], one["relevance_score"]) for one in answer], wanted, 4)
        kept = reranker.compress_documents([Document(page_content=text) for text in DOCUMENTS], QUERY)
        ranked([(DOCUMENTS.index(one.page_content), one.metadata["relevance_score"]) for one in kept], wanted, 4)
        embedder = CohereEmbeddings(cohere_api_key="none", base_url=door.url, model=EMBEDDER)
        all_near(embedder.embed_documents(list(TEXTS)), door.grpc.embed(TEXTS))
        near(embedder.embed_query(QUERY), door.grpc.embed([QUERY])[0])


class TestLlamaIndex:
    """Its integrations for TEI."""

    def test_embeddings(self, door: Door) -> None:
        from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference

        model = TextEmbeddingsInference(
            model_name=EMBEDDER, base_url=door.url, text_instruction="", query_instruction=""
        )
        wanted = door.grpc.embed(TEXTS)
        all_near(model.get_text_embedding_batch(list(TEXTS)), wanted)
        near(model.get_query_embedding(QUERY), wanted[0])
        all_near(asyncio.run(model.aget_text_embedding_batch(list(TEXTS))), wanted)

    def test_rerank(self, door: Door) -> None:
        from llama_index.core.schema import NodeWithScore, TextNode
        from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

        reranker = TextEmbeddingInference(base_url=door.url, top_n=len(MANY))
        for documents in (list(DOCUMENTS), MANY):
            nodes = [NodeWithScore(node=TextNode(text=text, id_=str(n))) for n, text in enumerate(documents)]
            answer = reranker.postprocess_nodes(nodes, query_str=QUERY)
            wanted = door.grpc.rerank(QUERY, documents)
            assert sorted(int(node.node.node_id) for node in answer) == list(range(len(documents)))
            scores = [float(node.score or 0) for node in answer]
            assert scores == sorted(scores, reverse=True)
            near(scores, [wanted[int(node.node.node_id)] for node in answer])


class TestHaystack:
    """`huggingface-api-haystack`."""

    def documents(self) -> list:
        from haystack import Document

        return [Document(content=text) for text in DOCUMENTS]

    def test_ranker(self, door: Door) -> None:
        from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

        ranker = HuggingFaceTEIRanker(url=door.url, top_k=4)
        answer = ranker.run(query=QUERY, documents=self.documents())["documents"]
        got = [(DOCUMENTS.index(one.content), one.score) for one in answer]
        ranked(got, door.grpc.rerank(QUERY, DOCUMENTS), 4)
        answer = asyncio.run(ranker.run_async(query=QUERY, documents=self.documents()))["documents"]
        assert [(DOCUMENTS.index(one.content), one.score) for one in answer] == got
        raw = HuggingFaceTEIRanker(url=door.url, raw_scores=True).run(query=QUERY, documents=self.documents())
        got = [(DOCUMENTS.index(one.content), one.score) for one in raw["documents"]]
        ranked(got, door.grpc.rerank(QUERY, DOCUMENTS, raw=True))

    def test_direction(self, door: Door) -> None:
        from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
        from haystack_integrations.components.rankers.huggingface_api.ranker import TruncationDirection

        for direction in TruncationDirection:
            answer = HuggingFaceTEIRanker(url=door.url).run(
                query=QUERY, documents=self.documents(), truncation_direction=direction
            )["documents"]
            ranked([(DOCUMENTS.index(one.content), one.score) for one in answer], door.grpc.rerank(QUERY, DOCUMENTS))

    def test_embedder(self, doors: Doors, kind: str) -> None:
        from haystack_integrations.components.embedders.huggingface_api import HuggingFaceAPIDocumentEmbedder

        # It posts to the address itself, as the hub's client does, so the fleet serves one model.
        door = doors.of(kind, EMBEDDER)
        embedder = HuggingFaceAPIDocumentEmbedder(
            api_type="text_embeddings_inference", api_params={"url": door.url}, batch_size=4, normalize=True
        )
        answer = embedder.run(documents=self.documents())["documents"]
        all_near([one.embedding for one in answer], door.grpc.embed(DOCUMENTS))


class TestLiteLlm:
    """`litellm`, by each of the providers that reach servers of one's own."""

    @pytest.mark.parametrize("provider", ["hosted_vllm", "huggingface", "cohere", "jina_ai"])
    @pytest.mark.parametrize("count", [len(DOCUMENTS), 1316])
    def test_rerank(self, door: Door, provider: str, count: int) -> None:
        import litellm

        documents = list(DOCUMENTS) if count == len(DOCUMENTS) else MANY
        answer = litellm.rerank(
            model=f"{provider}/{RERANKER}", query=QUERY, documents=documents, api_base=door.url, api_key="none"
        )
        wanted = door.grpc.rerank(QUERY, documents)
        scores = [one["relevance_score"] for one in answer.results]
        assert scores == sorted(scores, reverse=True)
        assert sorted(one["index"] for one in answer.results) == list(range(count))
        near(scores, [wanted[one["index"]] for one in answer.results])

    @pytest.mark.parametrize("provider", ["hosted_vllm", "huggingface", "cohere", "jina_ai"])
    def test_best(self, door: Door, provider: str) -> None:
        import litellm

        answer = litellm.rerank(
            model=f"{provider}/{RERANKER}",
            query=QUERY,
            documents=list(DOCUMENTS),
            top_n=2,
            return_documents=True,
            api_base=door.url,
            api_key="none",
        )
        ranked(
            [(one["index"], one["relevance_score"]) for one in answer.results], door.grpc.rerank(QUERY, DOCUMENTS), 2
        )

    def test_infinity(self, door: Door) -> None:
        import litellm

        # It wants documents back as bare strings, where vLLM, Jina and Cohere have objects, so it must ask for none.
        answer = litellm.rerank(
            model=f"infinity/{RERANKER}",
            query=QUERY,
            documents=list(DOCUMENTS),
            return_documents=False,
            api_base=door.url,
            api_key="none",
        )
        ranked([(one["index"], one["relevance_score"]) for one in answer.results], door.grpc.rerank(QUERY, DOCUMENTS))

    @pytest.mark.parametrize(
        ("provider", "path"),
        [("hosted_vllm", "/v1"), ("openai", "/v1"), ("jina_ai", "/v1"), ("infinity", ""), ("cohere", "/v1/embed")],
    )
    def test_embedding(self, door: Door, provider: str, path: str) -> None:
        import litellm

        answer = litellm.embedding(
            model=f"{provider}/{EMBEDDER}", input=list(TEXTS), api_base=door.url + path, api_key="none"
        )
        all_near([one["embedding"] for one in answer.data], door.grpc.embed(TEXTS))

    def test_failures_are_told_apart(self, door: Door) -> None:
        import litellm

        with pytest.raises(litellm.NotFoundError, match="nobody"):
            litellm.rerank(
                model="hosted_vllm/nobody", query=QUERY, documents=list(DOCUMENTS), api_base=door.url, api_key="none"
            )


class TestHub:
    """`huggingface-hub`, which posts to the address itself; so each fleet serves one model."""

    def test_embeddings(self, doors: Doors, kind: str) -> None:
        from huggingface_hub import InferenceClient

        door = doors.of(kind, EMBEDDER)
        client = InferenceClient(model=door.url)
        all_near(client.feature_extraction(list(TEXTS), normalize=True).tolist(), door.grpc.embed(TEXTS))
        all_near(client.feature_extraction(QUERY).tolist(), door.grpc.embed([QUERY]))
        scores = client.sentence_similarity(QUERY, list(DOCUMENTS))
        query, *rows = numpy.array(door.grpc.embed(TEXTS))
        near(scores, [float(row @ query) for row in rows])

    def test_classes(self, doors: Doors, kind: str) -> None:
        from huggingface_hub import InferenceClient

        door = doors.of(kind, CLASSIFIER)
        [wanted] = door.grpc.classify([QUERY])
        # It unwraps a list that TEI does not wrap, so of TEI and of us it keeps the likeliest label only.
        best = InferenceClient(model=door.url).text_classification(QUERY)
        assert best.label == max(wanted, key=lambda label: wanted[label])
        near([best.score], [wanted[best.label]])


class TestBaseten:
    """`baseten-performance-client`, which cuts by count and sends many posts at once."""

    def client(self, door: Door):
        from baseten_performance_client import PerformanceClient

        return PerformanceClient(base_url=door.url, api_key="none")

    def test_embed(self, door: Door) -> None:
        answer = self.client(door).embed(MANY, model=EMBEDDER)
        all_near(answer.numpy().tolist(), door.grpc.embed(MANY))
        assert answer.usage.total_tokens > len(MANY)

    def test_rerank(self, door: Door) -> None:
        answer = self.client(door).rerank(QUERY, MANY, return_text=True)
        wanted = door.grpc.rerank(QUERY, MANY)
        assert sorted(one.index for one in answer.data) == list(range(len(MANY)))
        near([one.score for one in answer.data], [wanted[one.index] for one in answer.data])
        assert all(one.text == MANY[one.index] for one in answer.data)

    def test_classify(self, door: Door) -> None:
        answer = self.client(door).classify(list(TEXTS))
        for got, wanted in zip(answer.data, door.grpc.classify(TEXTS), strict=True):
            near([one.score for one in got], [wanted[one.label] for one in got])


def test_sparse_embeddings(door: Door) -> None:
    """Haystack's own embedder for SPLADE models, by TEI's route."""
    from haystack_integrations.components.embedders.huggingface_api import HuggingFaceTEISparseTextEmbedder

    answer = HuggingFaceTEISparseTextEmbedder(api_base_url=door.url).run(text=QUERY)["sparse_embedding"]
    [wanted] = door.grpc.sparse([QUERY])
    got = dict(zip(answer.indices, answer.values, strict=True))
    assert set(got) == set(wanted), SPLADE
    near([got[n] for n in wanted], wanted.values(), 1e-4)
