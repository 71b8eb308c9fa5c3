"""What the tests stand on: real servers and gateways on tiny models, their gRPC answers, recorded answers."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from process import ROOT, Process, binary

ORACLE = ROOT / "tests" / "oracle"

RERANKER = "bert-rerank"
EMBEDDER = "bert-base"
CLASSIFIER = "bert-classify3"
TAGGER = "bert-tokens5"
SPLADE = "splade-sum"
ALL = (RERANKER, EMBEDDER, CLASSIFIER, TAGGER, SPLADE)

SERVERS = 3
"""Servers behind a gateway."""

NEAR = 2e-6
"""How far two answers of one model may be apart: the batch that a text shares moves the last bits of f32."""

RECORDED_NEAR = 2e-4
"""How far an answer may be from the recorded one, which was made in f32 by another program."""

QUERY = "w49 w251"
DOCUMENTS = (
    "w16 w122 w62 w259 w253",
    "w7",
    "w20 w21 w22 w23",
    "w203 w71 w235 w237",
    "w135 w10 w193 w159 w78 w108",
    "w101 w41",
)
TEXTS = (QUERY, *DOCUMENTS)


def folder(model: str, into: Path) -> Path:
    """Folder of a model; one that shares files with others is put together in ``into``."""
    tiny = ORACLE / "tiny" / model
    if tiny.is_dir():
        return tiny
    whole = into / model
    shutil.copytree(ORACLE / "folders" / model, whole)
    for file, source in json.loads((whole / "from.json").read_text()).items():
        shutil.copy(ORACLE / source, whole / file)
    return whole


def recorded(model: str) -> list[dict[str, Any]]:
    """Recorded answers of a tiny model."""
    cases: list[dict[str, Any]] = json.loads((ORACLE / "tiny" / model / "expected.json").read_text())["cases"]
    return cases


class Grpc:
    """`sortie.v1` of a process, with what it says of its messages itself."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))
        self.service = pool.FindServiceByName("sortie.v1.EncoderService")

    def call(self, rpc: str, **fields: Any) -> Any:
        """Calls a method with a message in protobuf's JSON form."""
        method = self.service.FindMethodByName(rpc)
        request = json_format.ParseDict(fields, message_factory.GetMessageClass(method.input_type)())
        answer = message_factory.GetMessageClass(method.output_type)
        path = f"/{self.service.full_name}/{rpc}"
        make = self.channel.unary_unary(path, type(request).SerializeToString, answer.FromString)
        return make(request, timeout=60)

    def rerank(self, query: str, documents: Sequence[str], raw: bool = False) -> list[float]:
        """Scores in the order of the documents."""
        answer = self.call(
            "Rerank",
            model=RERANKER,
            query={"text": query},
            documents=texts(documents),
            activation="ACTIVATION_RAW" if raw else "ACTIVATION_SIGMOID",
        )
        assert not answer.items.errors
        return list(answer.scores)

    def embed(self, inputs: Sequence[str], **options: Any) -> list[list[float]]:
        """A vector of each text."""
        answer = self.call("Embed", model=EMBEDDER, inputs=texts(inputs), **{"normalize": True, **options})
        assert not answer.items.errors
        return rows(answer.vectors, answer.dimensions)

    def tokens(self, rpc: str, **fields: Any) -> int:
        """Tokens that a call used."""
        return sum(self.call(rpc, **fields).items.tokens)

    def classify(self, inputs: Sequence[str], **options: Any) -> list[dict[str, float]]:
        """Scores of each text by label."""
        answer = self.call("Classify", model=CLASSIFIER, inputs=texts(inputs), **options)
        width = len(answer.labels)
        scores = list(answer.scores)
        return [dict(zip(answer.labels, scores[at : at + width])) for at in range(0, len(scores), width)]

    def sparse(self, inputs: Sequence[str]) -> list[dict[int, float]]:
        """Entries of each text by index."""
        answer = self.call("EmbedSparse", model=SPLADE, inputs=texts(inputs))
        ends = list(answer.offsets)
        starts = [0, *ends] if len(ends) == len(inputs) else ends
        pairs = list(zip(answer.indices, answer.weights))
        return [dict(pairs[starts[n] : starts[n + 1]]) for n in range(len(inputs))]


class Door:
    """Where a client library is pointed at: HTTP and gRPC of one process."""

    def __init__(self, kind: str, process: Process, behind: list[Process]) -> None:
        self.kind = kind
        self.process = process
        self.servers = behind
        self.url = f"http://{process.address('http-addr')}"
        self.address = process.address("addr")
        self.grpc = Grpc(self.address)


class Doors:
    """Fleets of three servers with a gateway before them, started as they are asked for."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.processes: list[Process] = []
        self.doors: dict[tuple[str, ...], dict[str, Door]] = {}

    def of(self, kind: str, *models: str) -> Door:
        """The gateway, or the first of the servers, of a fleet that serves these models."""
        if models not in self.doors:
            self.doors[models] = self.start(models)
        return self.doors[models][kind]

    def start(self, models: Sequence[str]) -> dict[str, Door]:
        """Starts a fleet."""
        place = self.scratch / "+".join(models)
        place.mkdir()
        flags = ["--threads", "1", "--tokenize-threads", "1"]
        for model in models:
            flags += ["--model", f"{model}={folder(model, place)}"]
        program = binary("SORTIE_SERVER", "sortie-server")
        servers = []
        for n in range(SERVERS):
            servers.append(Process(program, place / f"server-{n}", "--replica", f"server-{n}", *flags))
            self.processes.append(servers[-1])
        for server in servers:
            server.wait()
        endpoints = ",".join(f"http://{server.address('addr')}" for server in servers)
        gateway = Process(binary("SORTIE_GATEWAY", "sortie-gateway"), place / "gateway", "--endpoint", endpoints)
        self.processes.append(gateway)
        gateway.wait()
        return {"gateway": Door("gateway", gateway, servers), "server": Door("server", servers[0], servers[:1])}

    def stop(self) -> None:
        """Stops all of them, gateways first."""
        for process in reversed(self.processes):
            process.stop()


def texts(items: Iterable[str]) -> list[dict[str, str]]:
    """Inputs of `sortie.v1`."""
    return [{"text": item} for item in items]


def rows(vectors: bytes, dimensions: int) -> list[list[float]]:
    """Vectors of f32 as they are on the wire."""
    numbers = struct.unpack(f"<{len(vectors) // 4}f", vectors)
    return [list(numbers[at : at + dimensions]) for at in range(0, len(numbers), dimensions)]


def sigmoid(logit: float) -> float:
    """A score from 0 to 1."""
    return 1.0 / (1.0 + math.exp(-logit))


def near(got: Iterable[float], wanted: Iterable[float], limit: float = NEAR) -> None:
    """Fails where numbers differ, or their count."""
    got, wanted = list(got), list(wanted)
    assert len(got) == len(wanted)
    worst = max((abs(a - b) for a, b in zip(got, wanted)), default=0.0)
    assert worst <= limit, f"{worst} apart: {got[:8]} for {wanted[:8]}"


def all_near(got: Iterable[Iterable[float]], wanted: Iterable[Iterable[float]], limit: float = NEAR) -> None:
    """The same of rows."""
    got, wanted = list(got), list(wanted)
    assert len(got) == len(wanted)
    for row, other in zip(got, wanted):
        near(row, other, limit)


def ranked(got: Iterable[tuple[int, float]], scores: Sequence[float], top_n: int | None = None) -> None:
    """Fails unless (index, score) come best first and are the best of ``scores``, all unless ``top_n`` says how many."""
    got = list(got)
    order = sorted(range(len(scores)), key=lambda n: (-scores[n], n))[:top_n]
    assert [index for index, _ in got] == order
    near([score for _, score in got], [scores[n] for n in order])
