"""Reranks jobs with baseten-performance-client: documents cut by count, all chunks sent at once to one address.

Arguments: the address and the documents of a chunk. Reads a job a line, {"query": …, "documents": […]}, and answers each
with a line, {"seconds": …, "scores": […]}, or {"error": …}. Reading a job is not in its time.
"""

import json
import sys
import time

from baseten_performance_client import PerformanceClient, RequestProcessingPreference

CHARACTERS = 1_048_576
"""Most characters of a request, as many as it takes: the count alone decides where a job is cut."""


def main() -> None:
    """Answers jobs until there are no more."""
    address, chunk = sys.argv[1], int(sys.argv[2])
    client = PerformanceClient(base_url=address, api_key="none")
    split = RequestProcessingPreference(batch_size=chunk, max_chars_per_request=CHARACTERS, max_retries=0)
    for line in sys.stdin:
        job = json.loads(line)
        started = time.perf_counter()
        try:
            answer = client.rerank(job["query"], job["documents"], truncate=True, preference=split)
        except Exception as error:  # Whatever it is, the bench counts it.
            print(json.dumps({"error": str(error)}), flush=True)
            continue
        seconds = time.perf_counter() - started
        scores = [0.0] * len(job["documents"])
        for one in answer.data:
            scores[one.index] = one.score
        print(json.dumps({"seconds": seconds, "scores": scores}), flush=True)


main()
