"""Offers jobs to one address in an open loop, each cut by count with all chunks sent at once.

Arguments: the client (asyncio or baseten), the address, the documents of a chunk, a file of jobs ({"query", "documents",
"scores"} a line), a file of moments in milliseconds (one a line), the seconds of warm-up, the seconds a job has. Jobs come
in turn at those moments, whatever became of earlier ones. Prints a line a job that was meant to start after the warm-up:
{"at_ms", "latency_ms", "late_ms", "outcome"}; a latency counts from the moment the job was meant to start.
"""

import asyncio
import json
import sys
import time

TOLERANCE = 5e-3
"""How far a score may lie from the reference, relative to max(1, |score|): as `sortie bench` has it."""

CHARACTERS = 1_048_576
"""Most characters of a request that Baseten's client takes: the count alone decides where a job is cut."""


class Asyncio:
    """What anybody writes: gather over chunks, with one session for all."""

    def __init__(self, address: str, chunk: int) -> None:
        """Opens a session."""
        import aiohttp

        self.url, self.chunk = f"{address}/rerank", chunk
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def post(self, query: str, texts: list[str]) -> list[dict]:
        """One request."""
        body = {"query": query, "texts": texts, "truncate": True, "raw_scores": True}
        async with self.session.post(self.url, json=body) as answer:
            if answer.status != 200:
                raise RuntimeError(f"HTTP_{answer.status}")
            return await answer.json()

    async def rerank(self, query: str, documents: list[str]) -> list[float]:
        """Scores in the order of the documents."""
        starts = range(0, len(documents), self.chunk)
        parts = await asyncio.gather(*(self.post(query, documents[at : at + self.chunk]) for at in starts))
        scores = [float("nan")] * len(documents)
        for start, part in zip(starts, parts, strict=True):
            for one in part:
                scores[start + one["index"]] = one["score"]
        return scores


class Baseten:
    """baseten-performance-client, which cuts and sends in Rust."""

    def __init__(self, address: str, chunk: int) -> None:
        """Sets one up that does not try again."""
        from baseten_performance_client import PerformanceClient, RequestProcessingPreference

        self.client = PerformanceClient(base_url=address, api_key="none")
        self.split = RequestProcessingPreference(batch_size=chunk, max_chars_per_request=CHARACTERS, max_retries=0)

    async def rerank(self, query: str, documents: list[str]) -> list[float]:
        """Scores in the order of the documents."""
        answer = await self.client.async_rerank(
            query, documents, raw_scores=True, truncate=True, preference=self.split
        )
        scores = [float("nan")] * len(documents)
        for one in answer.data:
            scores[one.index] = one.score
        return scores


def outcome(scores: list[float], right: list[float]) -> str:
    """Whether scores are the reference's."""
    if any(score != score for score in scores):
        return "MISSING_SCORE"
    close = all(abs(a - b) <= TOLERANCE * max(1.0, abs(b)) for a, b in zip(scores, right, strict=True))
    return "OK" if close else "WRONG_SCORE"


async def one(client: Asyncio | Baseten, job: dict, due: float, at_ms: float, patience: float, quiet: bool) -> None:
    """Runs a job and prints what came of it."""
    late = time.perf_counter() - due
    try:
        scores = await asyncio.wait_for(client.rerank(job["query"], job["documents"]), patience)
        ended = outcome(scores, job["scores"])
    except TimeoutError:
        ended = "DEADLINE_EXCEEDED"
    except Exception as error:  # Whatever it is, it is counted by its kind.
        said = str(error)
        status = next((word for word in ("429", "503", "504", "500", "422") if word in said), None)
        ended = f"HTTP_{status}" if status else type(error).__name__
    if not quiet:
        latency = time.perf_counter() - due
        line = {"at_ms": at_ms, "latency_ms": latency * 1e3, "late_ms": late * 1e3, "outcome": ended}
        print(json.dumps(line))


async def main() -> None:
    """Offers all jobs and waits for the last."""
    kind, address, chunk = sys.argv[1], sys.argv[2], int(sys.argv[3])
    jobs = [json.loads(line) for line in open(sys.argv[4], encoding="utf-8") if line.strip()]
    moments = [float(line) for line in open(sys.argv[5], encoding="utf-8") if line.strip()]
    warm_up, patience = float(sys.argv[6]), float(sys.argv[7])
    client = {"asyncio": Asyncio, "baseten": Baseten}[kind](address, chunk)
    started, running = time.perf_counter(), set()
    for number, at in enumerate(moments):
        due = started + at / 1e3
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        job = jobs[number % len(jobs)]
        task = asyncio.create_task(one(client, job, due, at - warm_up * 1e3, patience, at < warm_up * 1e3))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    if kind == "asyncio":
        await client.session.close()


asyncio.run(main())
