"""The asyncio client: methods that answer, or raise :class:`~sortie.SortieError`."""

# Made of `client.py` by tools/generate.py.

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from . import _bulk
from . import _requests as requests
from ._async import AsyncTransport
from ._bulk_async import AsyncBulkRun
from ._retry import Retries
from ._settings import (
    DEFAULT_KEEPALIVE,
    DEFAULT_KEEPALIVE_TIMEOUT,
    DEFAULT_MAX_MESSAGE_BYTES,
    DEFAULT_TIMEOUT,
    Settings,
    Tls,
)
from .inputs import text_options

if TYPE_CHECKING:
    from ._async import Source
    from ._requests import Activation, Aggregation, Health, Pooling
    from ._retry import Lane
    from .answers import (
        Classified,
        Detokenized,
        Embedded,
        Ranges,
        Reranked,
        Similarities,
        SparseEmbedded,
        Tagged,
        Tokenized,
        TokensEmbedded,
        VectorFormat,
    )
    from .info import LoadReport, ModelInfo
    from .inputs import Input, Role, TokenIds, Truncation, TruncationSide, Windows

T = TypeVar("T")


class AsyncClient(AsyncTransport):
    """Calls one Sortie server or gateway. Make one in each event loop and keep it.

    It connects with its first call, and anew when the connection breaks. A process that forks makes a client in each
    child: one that has connected before refuses there with ``RuntimeError``, for gRPC does not survive a fork.

    Options that every method of the kind takes:

    - ``model``: the model to ask, in place of the client's; neither is needed where a server has one only.
    - ``timeout``: seconds for the whole call, retries and waits between them included, in place of the client's;
      ``math.inf`` is none. The server is told what is left.
    - ``lane``: ``interactive``, or ``bulk`` for which nobody waits. ``tenant``: whose fair share of a server is drawn on,
      where the server lets callers say so. ``job_id``: an id for logs, in place of a random one. ``traceparent``: a W3C
      trace context.
    - ``truncation``: what gives way when a sequence is too long: ``document_only`` (the default), ``longest_first``, or
      ``error``: nothing, and it is that item's error. ``truncation_side``: ``left`` or ``right``; the default is the
      model's. ``max_length``: longest sequence in tokens, special ones included; the default is the model's.
    - ``role``: what the texts are for, ``query`` or ``document``. In rerank and similarity ``query`` reads the query (or
      source) as one and the rest as documents.
    - ``prompt``: a text put before each input (in rerank: the query); ``prompt_name``: one that the model defines.
    - ``plain_text``: special tokens spelled out in texts are plain text: for texts that are not trusted.
    """

    def __init__(
        self,
        address: str,
        *,
        model: str = "",
        timeout: float = DEFAULT_TIMEOUT,
        lane: Lane = "interactive",
        tenant: str | None = None,
        api_key: str | Callable[[], str] | None = None,
        tls: Tls | None = None,
        retries: Retries | None = None,
        trace_context: Callable[[], Mapping[str, str]] | None = None,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        keepalive: float = DEFAULT_KEEPALIVE,
        keepalive_timeout: float = DEFAULT_KEEPALIVE_TIMEOUT,
        channel_options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Sets a client up; nothing is sent.

        Args:
            address: ``http://host:port`` in the clear, ``https://host:port`` by TLS, or ``host:port``, which is by TLS
                where ``tls`` is set.
            model: Model of calls that name none.
            timeout: Seconds of calls that set none.
            lane: Lane of calls that name none.
            tenant: Tenant of calls that name none.
            api_key: Sent as a bearer token; a function is asked for every call. In the clear where the address is.
            tls: Certificates; without it ``https`` is held against the authorities that gRPC comes with.
            retries: How to retry; ``Retries(max_attempts=1)`` does not.
            trace_context: Asked for every call for the headers of the trace it belongs to, ``traceparent`` and
                ``tracestate``.
            max_message_bytes: Bytes of one message, either way.
            keepalive: Seconds between pings of a connection with calls on it.
            keepalive_timeout: Seconds that a ping may go unanswered before its connection counts as lost.
            channel_options: More options for gRPC's channel; they win over ours.
        """
        self._open(
            Settings(
                address=address,
                model=model,
                timeout=timeout,
                lane=lane,
                tenant=tenant,
                api_key=api_key,
                tls=tls,
                retries=retries or Retries(),
                trace_context=trace_context,
                max_message_bytes=max_message_bytes,
                keepalive=keepalive,
                keepalive_timeout=keepalive_timeout,
                channel_options=tuple(channel_options),
            )
        )

    def with_options(
        self,
        *,
        model: str | None = None,
        timeout: float | None = None,
        lane: Lane | None = None,
        tenant: str | None = None,
    ) -> AsyncClient:
        """The same client, connection and retry budget included, with other defaults. Closing one closes both."""
        return self._view(self._settings.changed(model=model, timeout=timeout, lane=lane, tenant=tenant))

    async def rerank(
        self,
        query: Input,
        documents: Iterable[Input],
        *,
        activation: Activation | None = None,
        top_n: int | None = None,
        windows: Windows | None = None,
        truncation: Truncation | None = None,
        truncation_side: TruncationSide | None = None,
        max_length: int | None = None,
        role: Role | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        plain_text: bool = False,
        model: str | None = None,
        timeout: float | None = None,
        lane: Lane | None = None,
        tenant: str | None = None,
        job_id: str | None = None,
        traceparent: str | None = None,
    ) -> Reranked:
        """Scores documents against a query.

        ``scores`` has shape (documents,), in request order. A cross-encoder gives logits, unless ``activation`` says
        ``sigmoid`` or ``model`` (what the model's folder names); an embedding model gives cosines and a late-interaction
        model MaxSim: ``scoring`` says which.

        Args:
            query: A text, or ids without special tokens; not empty.
            documents: Texts, ids without special tokens, or token vectors that were kept.
            activation: What is done to the score.
            top_n: Length of ``order`` in the answer; all documents are scored.
            windows: Reads documents that are too long in windows, in place of cutting them.
        """
        options = text_options(
            truncation=truncation,
            truncation_side=truncation_side,
            max_length=max_length,
            role=role,
            prompt=prompt,
            prompt_name=prompt_name,
            plain_text=plain_text,
        )
        request = requests.rerank(self._model(model), query, documents, options, activation, top_n, windows)
        return await self._call(
            request, timeout=timeout, lane=lane, tenant=tenant, job_id=job_id, traceparent=traceparent
        )

    async def embed(
        self,
        inputs: Iterable[Input],
        *,
        pooling: Pooling | None = None,
        normalize: bool | None = None,
        dimensions: int | None = None,
        format: VectorFormat | None = None,
        ranges: Ranges | None = None,
        windows: Windows | None = None,
        truncation: Truncation | None = None,
        truncation_side: TruncationSide | None = None,
        max_length: int | None = None,
        role: Role | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        plain_text: bool = False,
        model: str | None = None,
        timeout: float | None = None,
        lane: Lane | None = None,
        tenant: str | None = None,
        job_id: str | None = None,
        traceparent: str | None = None,
    ) -> Embedded:
        """Turns inputs into dense vectors.

        ``vectors`` has shape (inputs, dimensions); float32 unless ``format`` says otherwise. See :class:`Embedded`.

        Args:
            inputs: Texts, pairs, or ids with their special tokens.
            pooling: Pooling other than the model's own.
            normalize: Whether vectors get length 1; ``None`` takes the model's own habit.
            dimensions: Keeps only the first so many dimensions (Matryoshka), before normalising.
            format: Number format: ``f32``, ``f16``, ``int8``, ``uint8``, ``binary`` or ``ubinary``.
            ranges: Ranges of ``int8`` and ``uint8``, one a dimension. Without them they are those of this request's own
                vectors, and other requests' bytes do not compare.
            windows: Reads texts that are too long in windows; the vector is their weighted mean.
        """
        options = text_options(
            truncation=truncation,
            truncation_side=truncation_side,
            max_length=max_length,
            role=role,
            prompt=prompt,
            prompt_name=prompt_name,
            plain_text=plain_text,
        )
        request = requests.embed(
            self._model(model), inputs, options, pooling, normalize, dimensions, format, ranges, windows
        )
        return await self._call(
            request, timeout=timeout, lane=lane, tenant=tenant, job_id=job_id, traceparent=traceparent
        )

    async def embed_tokens(
        self,
        inputs: Iterable[Input],
        *,
        format: VectorFormat | None = None,
        places: bool = False,
        truncation: Truncation | None = None,
        truncation_side: TruncationSide | None = None,
        max_length: int | None = None,
        role: Role | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        plain_text: bool = False,
        model: str | None = None,
        timeout: float | None = None,
        lane: Lane | None = None,
        tenant: str | None = None,
        job_id: str | None = None,
        traceparent: str | None = None,
    ) -> TokensEmbedded:
        """Turns inputs into one vector a token: of a late-interaction model, or the token states of an embedding model.

        Each of ``matrices`` has ``vectors`` of shape (rows, dimensions).

        Args:
            inputs: Texts, pairs, or ids with their special tokens and markers.
            format: Number format: ``f32``, ``f16``, ``int8`` (with a scale a matrix) or ``ubinary``.
            places: Asks for the place of each vector's token in its sequence too.
        """
        options = text_options(
            truncation=truncation,
            truncation_side=truncation_side,
            max_length=max_length,
            role=role,
            prompt=prompt,
            prompt_name=prompt_name,
            plain_text=plain_text,
        )
        request = requests.embed_tokens(self._model(model), inputs, options, format, places)
        return await self._call(
            request, timeout=timeout, lane=lane, tenant=tenant, job_id=job_id, traceparent=traceparent
        )

    async def embed_sparse(
        self,
        inputs: Iterable[Input],
        *,
        top_k: int | None = None,
        truncation: Truncation | None = None,
        truncation_side: TruncationSide | None = None,
        max_length: int | None = None,
        role: Role | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        plain_text: bool = False,
        model: str | None = None,
        timeout: float | None = None,
        lane: Lane | None = None,
        tenant: str | None = None,
        job_id: str | None = None,
        traceparent: str | None = None,
    ) -> SparseEmbedded:
        """Turns inputs into sparse vectors over the vocabulary, in compressed rows.

        Args:
            inputs: Texts, pairs, or ids with their special tokens.
            top_k: Keeps only the heaviest so many entries of each.
        """
        options = text_options(
            truncation=truncation,
            truncation_side=truncation_side,
            max_length=max_length,
            role=role,
            prompt=prompt,
            prompt_name=prompt_name,
            plain_text=plain_text,
        )
        request = requests.embed_sparse(self._model(model), inputs, options, top_k)
        return await self._call(
            request, timeout=timeout, lane=lane, tenant=tenant, job_id=job_id, traceparent=traceparent
        )

    async def classify(
        self,
        inputs: Iterable[Input],
        *,
        activation: Activation | None = None,
        truncation: Truncation | None = None,
        truncation_side: TruncationSide | None = None,
        max_length: int | None = None,
        role: Role | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        plain_text: bool = False,
        model: str | None = None,
        timeout: float | None = None,
        lane: Lane | None = None,
        tenant: str | None = None,
        job_id: str | None = None,
        traceparent: str | None = None,
    ) -> Classified:
        """Scores each input against the model's labels: ``scores`` has shape (inputs, labels).

        Args:
            inputs: Texts, pairs, or ids with their special tokens.
            activation: What is done to the logits; the default is the model's: softmax, sigmoid or nothing.
        """
        options = text_options(
            truncation=truncation,
            truncation_side=truncation_side,
            max_length=max_length,
            role=role,
            prompt=prompt,
            prompt_name=prompt_name,
            plain_text=plain_text,
        )
        request = requests.classify(self._model(model), inputs, options, activation)
        return await self._call(
            request, timeout=timeout, lane=lane, tenant=tenant, job_id=job_id, traceparent=traceparent
        )

    async def tag(
        self,
        inputs: Iterable[Input],
        *,
        aggregation: Aggregation | None = None,
        token_scores: bool = False,
        activation: Activation | None = None,
        ignore_labels: Iterable[str] | None = None,
        labels: Iterable[str] | None = None,
        threshold: float | None = None,
        nested: bool = False,
        multi_label: bool = False,
        truncation: Truncation | None = None,
        truncation_side: TruncationSide | None = None,
        max_length: int | None = None,
        role: Role | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        plain_text: bool = False,
        model: str | None = None,
        timeout: float | None = None,
        lane: Lane | None = None,
        tenant: str | None = None,
        job_id: str | None = None,
        traceparent: str | None = None,
    ) -> Tagged:
        """Finds labelled spans in texts. Spans count characters as Python does, and bytes beside.

        Args:
            inputs: Texts, pairs, or ids; ids and the second text of a pair give no spans.
            aggregation: How token labels become spans: ``words`` (the default), or as transformers has them ``none``,
                ``simple``, ``first``, ``average`` or ``max``.
            token_scores: Asks for the scores of every token too, shape (tokens, labels).
            activation: What is done to the logits.
            ignore_labels: Labels that make no span; the default is ``O`` alone.
            labels: What to find, in words, of a model whose labels come with the request (``labels_in_request``).
            threshold: Score from 0 to 1 above which such a model finds something; 0.5 otherwise.
            nested: Lets such a model find spans within spans.
            multi_label: Lets such a model give a span several labels.
        """
        options = text_options(
            truncation=truncation,
            truncation_side=truncation_side,
            max_length=max_length,
            role=role,
            prompt=prompt,
            prompt_name=prompt_name,
            plain_text=plain_text,
        )
        request = requests.tag(
            self._model(model),
            inputs,
            options,
            aggregation,
            token_scores,
            activation,
            ignore_labels,
            labels,
            threshold,
            nested,
            multi_label,
        )
        return await self._call(
            request, timeout=timeout, lane=lane, tenant=tenant, job_id=job_id, traceparent=traceparent
        )

    async def similarity(
        self,
        source: Input,
        texts: Iterable[Input],
        *,
        truncation: Truncation | None = None,
        truncation_side: TruncationSide | None = None,
        max_length: int | None = None,
        role: Role | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        plain_text: bool = False,
        model: str | None = None,
        timeout: float | None = None,
        lane: Lane | None = None,
        tenant: str | None = None,
        job_id: str | None = None,
        traceparent: str | None = None,
    ) -> Similarities:
        """Compares one text with many by the cosine of their vectors: ``scores`` has shape (texts,).

        Args:
            source: The text to compare.
            texts: The texts to compare it with.
        """
        options = text_options(
            truncation=truncation,
            truncation_side=truncation_side,
            max_length=max_length,
            role=role,
            prompt=prompt,
            prompt_name=prompt_name,
            plain_text=plain_text,
        )
        request = requests.similarity(self._model(model), source, texts, options)
        return await self._call(
            request, timeout=timeout, lane=lane, tenant=tenant, job_id=job_id, traceparent=traceparent
        )

    async def tokenize(
        self,
        inputs: Iterable[Input],
        *,
        special_tokens: bool = True,
        truncation: Truncation | None = None,
        truncation_side: TruncationSide | None = None,
        max_length: int | None = None,
        role: Role | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        plain_text: bool = False,
        model: str | None = None,
        timeout: float | None = None,
        lane: Lane | None = None,
        tenant: str | None = None,
        job_id: str | None = None,
        traceparent: str | None = None,
    ) -> Tokenized:
        """Shows how the model's tokenizer reads inputs.

        Args:
            inputs: Texts or pairs.
            special_tokens: Whether the answer has special tokens.
        """
        options = text_options(
            truncation=truncation,
            truncation_side=truncation_side,
            max_length=max_length,
            role=role,
            prompt=prompt,
            prompt_name=prompt_name,
            plain_text=plain_text,
        )
        request = requests.tokenize(self._model(model), inputs, options, special_tokens)
        return await self._call(
            request, timeout=timeout, lane=lane, tenant=tenant, job_id=job_id, traceparent=traceparent
        )

    async def detokenize(
        self,
        inputs: Iterable[Sequence[int] | TokenIds],
        *,
        skip_special_tokens: bool = False,
        model: str | None = None,
        timeout: float | None = None,
        lane: Lane | None = None,
        tenant: str | None = None,
        job_id: str | None = None,
        traceparent: str | None = None,
    ) -> Detokenized:
        """Turns token ids back into text, as the model's own decoder joins them.

        Args:
            inputs: Lists of vocabulary ids.
            skip_special_tokens: Leaves special tokens out.
        """
        request = requests.detokenize(self._model(model), inputs, skip_special_tokens)
        return await self._call(
            request, timeout=timeout, lane=lane, tenant=tenant, job_id=job_id, traceparent=traceparent
        )

    async def models(self, *, timeout: float | None = None) -> list[ModelInfo]:
        """Describes every model served, in name order."""
        return await self._call(requests.models(), timeout=timeout)

    async def model(self, name: str | None = None, *, timeout: float | None = None) -> ModelInfo:
        """Describes one model: this, else the client's, else the only one."""
        return await self._call(requests.model_info(self._model(name)), timeout=timeout)

    async def probe(self, model: str | None = None, *, tokens: int = 0, timeout: float | None = None) -> LoadReport:
        """Reports a model's load without touching its queue. It is not retried.

        Args:
            model: Its name.
            tokens: Tokens that the caller thinks of sending; they count in the server's reports for 2 ms.
            timeout: Seconds.
        """
        return await self._call(requests.probe(self._model(model), tokens), timeout=timeout)

    async def health(self, service: str = "", *, timeout: float | None = None) -> Health:
        """Whether the server takes requests (``serving``), or one of its models, by name. It is not retried."""
        return await self._call(requests.health(service), timeout=timeout)

    def bulk(
        self,
        inputs: Source,
        call: Callable[[AsyncClient, list[Input]], Awaitable[T]],
        *,
        resume_at: int = 0,
        slice_tokens: int | None = None,
        slice_bytes: int = _bulk.MAX_SLICE_BYTES,
        in_flight: int = _bulk.BULK_IN_FLIGHT,
        timeout: float = _bulk.BULK_TIMEOUT,
        give_up_after: float = _bulk.BULK_GIVE_UP_AFTER,
    ) -> AsyncBulkRun[T]:
        """Does the same with any number of inputs, in bounded memory and in the bulk lane; gives slices in input order.

        Inputs are read as fast as they are answered. A slice that meets an overload or a restart is sent again.

            async for part in client.bulk(texts, lambda client, texts: client.embed(texts, normalize=True)):
                store(part.start, part.answer.vectors)

        Args:
            inputs: Texts, pairs or ids, of any number.
            call: Has a slice answered by the client it is given, which speaks in the bulk lane.
            resume_at: Reads past so many inputs, which an earlier run has done (``Slice.end``).
            slice_tokens: About so many tokens in a slice; the default is one batch of the server's device.
            slice_bytes: At most so many bytes of text in one, unless one text alone has more.
            in_flight: Most slices under way at once; two for each server behind the address keep them busy.
            timeout: Seconds for each slice, each time it is sent.
            give_up_after: Seconds without any answer after which the run ends with the error.
        """
        settings = _bulk.BulkSettings(resume_at, slice_tokens, slice_bytes, in_flight, timeout, give_up_after)
        return AsyncBulkRun(inputs, self._bulk_view(timeout), call, settings)

    def _model(self, name: str | None) -> str:
        return self._settings.model if name is None else name
