"""A library behind FastAPI, as people serve one: TEI's routes, one process, each request in a thread of its own.

Arguments: the backend (see backends.py), the model's folder, the task (rerank or embed), the port. Listens on loopback once
the model has answered one text.
"""

import sys
from pathlib import Path

import backends
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class RerankRequest(BaseModel):
    """What TEI's /rerank takes; scores are logits whatever `raw_scores` says."""

    query: str
    texts: list[str]


class EmbedRequest(BaseModel):
    """What TEI's /embed takes."""

    inputs: list[str]


def main() -> None:
    """Serves until it is ended."""
    backend, folder, task, port = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    model = backends.load(backend, folder, task)
    app = FastAPI()

    # Plain functions: FastAPI runs them in threads, so that the loop goes on taking requests.
    @app.post("/rerank")
    def rerank(request: RerankRequest) -> list[dict]:
        scores = model.scores(request.query, request.texts)
        ranked = sorted(enumerate(scores), key=lambda pair: -pair[1])
        return [{"index": index, "score": score} for index, score in ranked]

    @app.post("/embed")
    def embed(request: EmbedRequest) -> list[list[float]]:
        return model.vectors(request.inputs)

    model.scores("warm", ["up"]) if task == "rerank" else model.vectors(["warm up"])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


main()
