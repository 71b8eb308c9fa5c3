"""What tests stand on: real servers on tiny models, a scripted server, and both clients behind one call."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import grpc
import pytest

import sortie
from sortie import _async, _sync
from sortie._wire import details_pb2
from sortie.v1 import encoder_service_pb2 as pb
from sortie.v1 import encoder_service_pb2_grpc, result_pb2

T = TypeVar("T")
Kind: TypeAlias = Literal["sync", "async"]
KINDS: Sequence[Kind] = ("sync", "async")

ROOT = Path(__file__).resolve().parents[2]
ORACLE = ROOT / "tests" / "oracle"

READY_WITHIN = 60.0
"""Seconds that a server of tiny models may take to start, on a machine that compiles beside it."""


def both(test: Callable[..., None]) -> Callable[..., None]:
    """Runs a test with both clients."""
    return pytest.mark.parametrize("kind", KINDS)(test)


def ask(
    kind: Kind, address: str, use: Callable[[Any], Any], prepare: Callable[[Any], None] | None = None, **settings: Any
) -> Any:
    """Makes a client, uses it, closes it."""
    if kind == "sync":
        with sortie.Client(address, **settings) as client:
            if prepare:
                prepare(client)
            return use(client)

    async def go() -> Any:
        async with sortie.AsyncClient(address, **settings) as client:
            if prepare:
                prepare(client)
            answer: Awaitable[Any] = use(client)
            return await answer

    return asyncio.run(go())


def binary() -> Path:
    """The server that is tested: ``SORTIE_SERVER``, else what cargo built here."""
    path = Path(os.environ.get("SORTIE_SERVER") or ROOT / "target" / "debug" / "sortie-server")
    if not path.is_file():
        pytest.fail(f"there is no server at {path}: `cargo build -p sortie-server`, or set SORTIE_SERVER")
    return path


class RealServer:
    """A ``sortie-server`` on a free port of loopback."""

    def __init__(self, folder: Path, models: dict[str, Path], *flags: str) -> None:
        self.log = folder / "log"
        address = folder / "address"
        command = [str(binary()), "--listen", "127.0.0.1:0", "--addr-file", str(address), *flags]
        for name, path in models.items():
            command += ["--model", f"{name}={path}"]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SORTIE_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        # Its address is written once it takes requests.
        waited = threading.Event()
        for _ in range(int(READY_WITHIN / 0.02)):
            if address.is_file() and (text := address.read_text().strip()):
                self.address = text
                return
            if self.process.poll() is not None:
                break
            waited.wait(0.02)
        self.stop()
        pytest.fail(f"the server did not start: {self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """Asks it to leave, and waits."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def tiny(name: str) -> Path:
    """Folder of a tiny model."""
    return ORACLE / "tiny" / name


def assembled(name: str, into: Path) -> Path:
    """A folder of the oracle, whole: what it shares with others is copied to it."""
    folder = into / name
    shutil.copytree(ORACLE / "folders" / name, folder)
    for file, source in json.loads((folder / "from.json").read_text()).items():
        shutil.copy(ORACLE / source, folder / file)
    return folder


def expected(folder: Path) -> dict[str, Any]:
    """Recorded answers of a model."""
    answers: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    return answers


class Refuse(Exception):
    """A scripted refusal."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str | None = None,
        *,
        words: str = "no",
        pushback: str | None = None,
        field: str | None = None,
        facts: dict[str, str] | None = None,
        retry_delay: float | None = None,
    ) -> None:
        self.code, self.words = code, words
        trailers: list[tuple[str, str | bytes]] = []
        if pushback is not None:
            trailers.append(("grpc-retry-pushback-ms", pushback))
        if reason is not None:
            status = details_pb2.Status(code=code.value[0], message=words)
            kinds: list[tuple[str, Any]] = [
                ("ErrorInfo", details_pb2.ErrorInfo(reason=reason, domain="sortie", metadata=facts or {}))
            ]
            if field is not None:
                violation = details_pb2.BadRequest.FieldViolation(field=field, description=words)
                kinds.append(("BadRequest", details_pb2.BadRequest(field_violations=[violation])))
            if retry_delay is not None:
                delay = details_pb2.Duration(seconds=int(retry_delay), nanos=round(retry_delay % 1 * 1e9))
                kinds.append(("RetryInfo", details_pb2.RetryInfo(retry_delay=delay)))
            for name, message in kinds:
                url = f"type.googleapis.com/google.rpc.{name}"
                status.details.append(details_pb2.Any(type_url=url, value=message.SerializeToString()))
            trailers.append(("grpc-status-details-bin", status.SerializeToString()))
        self.trailers = trailers


def queue_full(pushback: str | None = None) -> Refuse:
    """A refusal for load."""
    return Refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", words="the queue is full", pushback=pushback)


class Seen:
    """A request that a scripted server got."""

    def __init__(self, rpc: str, request: Any, context: grpc.ServicerContext) -> None:
        self.rpc = rpc
        self.request = request
        self.metadata = dict(context.invocation_metadata())
        self.time_remaining = context.time_remaining()
        self.context = context


Step: TypeAlias = Callable[[Seen], Any]


class Scripted(encoder_service_pb2_grpc.EncoderServiceServicer):
    """A server that does what the next step of its script says, and what ``then`` says after the last."""

    def __init__(self, *steps: Step | Refuse, then: Step | Refuse | None = None, port: int = 0) -> None:
        self.steps = list(steps)
        self.then = then
        self.seen: list[Seen] = []
        self.lock = threading.Lock()
        self.server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        encoder_service_pb2_grpc.add_EncoderServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.address = f"127.0.0.1:{self.port}"
        self.server.start()

    def stop(self) -> None:
        """Stops at once, cutting what is under way."""
        self.server.stop(0).wait()

    def _do(self, rpc: str, request: Any, context: grpc.ServicerContext) -> Any:
        seen = Seen(rpc, request, context)
        with self.lock:
            self.seen.append(seen)
            step = self.steps.pop(0) if self.steps else self.then
        try:
            if isinstance(step, Refuse):
                raise step
            return step(seen) if step else answer(seen)
        except Refuse as refusal:
            context.set_trailing_metadata(tuple(refusal.trailers))
            context.abort(refusal.code, refusal.words)

    def Rerank(self, request: Any, context: Any) -> Any:
        return self._do("Rerank", request, context)

    def Embed(self, request: Any, context: Any) -> Any:
        return self._do("Embed", request, context)

    def EmbedTokens(self, request: Any, context: Any) -> Any:
        return self._do("EmbedTokens", request, context)

    def EmbedSparse(self, request: Any, context: Any) -> Any:
        return self._do("EmbedSparse", request, context)

    def Classify(self, request: Any, context: Any) -> Any:
        return self._do("Classify", request, context)

    def TagTokens(self, request: Any, context: Any) -> Any:
        return self._do("TagTokens", request, context)

    def Tokenize(self, request: Any, context: Any) -> Any:
        return self._do("Tokenize", request, context)

    def Detokenize(self, request: Any, context: Any) -> Any:
        return self._do("Detokenize", request, context)

    def Similarity(self, request: Any, context: Any) -> Any:
        return self._do("Similarity", request, context)

    def GetModel(self, request: Any, context: Any) -> Any:
        return self._do("GetModel", request, context)

    def ListModels(self, request: Any, context: Any) -> Any:
        return self._do("ListModels", request, context)

    def Probe(self, request: Any, context: Any) -> Any:
        # Outside the script: runs ask for the load when they please.
        raise_unimplemented(context)


def raise_unimplemented(context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "not here")


def facts(count: int, *failed: int) -> result_pb2.ItemInfo:
    """Per-item facts of ``count`` items, some of which failed."""
    errors = [result_pb2.ItemError(index=index, reason="TOO_LONG", message="too long") for index in failed]
    tokens = [0 if index in failed else 3 for index in range(count)]
    return result_pb2.ItemInfo(tokens=tokens, truncated=[False] * count, errors=errors)


def answer(seen: Seen) -> Any:
    """The answer of a server that is well: to each text the number it ends with, to others their length."""

    def number(text: str) -> float:
        last = text.rsplit(" ", 1)[-1]
        return float(last) if last.isdigit() else float(len(text))

    if seen.rpc == "Rerank":
        count = len(seen.request.documents)
        return pb.RerankResponse(scores=[number(d.text) for d in seen.request.documents], items=facts(count))
    count = len(seen.request.inputs)
    if seen.rpc == "Embed":
        import numpy as np

        rows = np.array([[number(i.text), 1.0] for i in seen.request.inputs], "<f4")
        return pb.EmbedResponse(vectors=rows.tobytes(), dimensions=2, format="VECTOR_FORMAT_F32", items=facts(count))
    raise Refuse(grpc.StatusCode.UNIMPLEMENTED)


class Held:
    """A step that holds its call until the caller is gone, and tells of both."""

    def __init__(self) -> None:
        self.began, self.gone, self.late = threading.Event(), threading.Event(), False

    def __call__(self, seen: Seen) -> Any:
        seen.context.add_callback(self.gone.set)
        self.began.set()
        self.late |= not self.gone.wait(30)
        raise Refuse(grpc.StatusCode.CANCELLED)

    def cancelled(self) -> bool:
        """Waits until the caller is gone; false where it stayed."""
        return self.gone.wait(60) and not self.late


@contextmanager
def scripted(*steps: Step | Refuse, then: Step | Refuse | None = None, port: int = 0) -> Iterator[Scripted]:
    """A scripted server that is stopped in the end."""
    server = Scripted(*steps, then=then, port=port)
    try:
        yield server
    finally:
        server.stop()


class FakeTime:
    """A clock that waits turn, for both clients: no test waits for real."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.waits: list[float] = []

        def wait(_scope: Any, seconds: float) -> None:
            self.waits.append(seconds)
            self.now += seconds

        async def wait_async(_connection: Any, seconds: float) -> None:
            wait(_connection, seconds)

        monkeypatch.setattr(_sync.Scope, "wait", wait)
        monkeypatch.setattr(_async.Connection, "wait", wait_async)

    def prepare(self, client: Any) -> None:
        """Has a client live by this clock."""
        client._clock = lambda: self.now
