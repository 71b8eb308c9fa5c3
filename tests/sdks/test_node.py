"""Packages of npm: each script of `node/` asks one and prints what it got."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import DOCUMENTS, EMBEDDER, QUERY, RERANKER, TEXTS, Door, all_near, ranked, texts

SCRIPTS = Path(__file__).parent / "node"


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts beside the packages, which Node looks for there."""
    modules = Path(os.environ.get("SORTIE_NODE_MODULES") or SCRIPTS / "node_modules")
    if not modules.is_dir():
        pytest.fail(f"there are no packages at {modules}: `npm ci` in {SCRIPTS}, or set SORTIE_NODE_MODULES")
    place = tmp_path_factory.mktemp("node")
    for script in SCRIPTS.glob("*.mjs"):
        shutil.copy(script, place)
    (place / "node_modules").symlink_to(modules.resolve(), target_is_directory=True)
    return place


def ask(place: Path, script: str, **question: Any) -> Any:
    """Runs a script."""
    command = ["node", str(place / script)]
    run = subprocess.run(command, check=False, input=json.dumps(question), capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_openai(place: Path, door: Door) -> None:
    got = ask(place, "embed.mjs", url=door.url, model=EMBEDDER, texts=TEXTS)
    wanted = door.grpc.embed(TEXTS)
    all_near(got["plain"], wanted)
    all_near(got["numbers"], wanted)
    assert got["usage"]["prompt_tokens"] == door.grpc.tokens("Embed", model=EMBEDDER, inputs=texts(TEXTS))
    assert EMBEDDER in got["models"]
    assert got["refusal"] == {"name": "NotFoundError", "status": 404, "code": "model_not_found"}


def test_cohere(place: Path, door: Door) -> None:
    got = ask(place, "cohere.mjs", url=door.url, reranker=RERANKER, embedder=EMBEDDER, query=QUERY, documents=DOCUMENTS)
    wanted = door.grpc.rerank(QUERY, DOCUMENTS)
    ranked(got["all"], wanted)
    ranked(got["best"], wanted, 2)
    assert got["texts"] == [DOCUMENTS[index] for index, _ in got["best"]]
    all_near(got["vectors"], door.grpc.embed(DOCUMENTS))
    assert got["refusal"] == {"name": "NotFoundError", "status": 404}


def test_ai(place: Path, door: Door) -> None:
    got = ask(place, "ai.mjs", url=door.url, reranker=RERANKER, embedder=EMBEDDER, query=QUERY, documents=DOCUMENTS)
    ranked(got["ranked"], door.grpc.rerank(QUERY, DOCUMENTS), 3)
    all_near(got["embeddings"], door.grpc.embed(DOCUMENTS))
    assert got["usage"]["tokens"] > 0
