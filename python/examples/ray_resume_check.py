"""Shows that the Ray example loses no row and doubles none: two servers, one run killed whole, one worker killed.

    SORTIE_SERVER=…/sortie-server python ray_resume_check.py

A corpus of short texts is embedded by ``ray_embed.py``. The first run is killed (SIGKILL, driver and cluster) when a
quarter of the parts is done. The second goes on; when half of them is done, one of its workers is killed. Then every row
must be there once, with the vector that a server gives for its text alone, and no part of the first run done again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import sortie

HERE = Path(__file__).resolve().parent
ORACLE = HERE.parents[1] / "tests" / "oracle"
MODEL = "static-st"
WITHIN = 600.0
"""Seconds that each step may take: an engine is slow to start on a busy machine."""


def main() -> None:
    """Does it all in a folder that is thrown away."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--parts", type=int, default=80)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        check(Path(folder), stack, options.texts, options.parts)


def check(folder: Path, stack: ExitStack, count: int, parts: int) -> None:
    """Embeds, kills, embeds, kills, counts."""
    corpus, results = folder / "corpus", folder / "results"
    texts = write_corpus(corpus, count, parts)
    addresses = [start_server(folder, stack, number) for number in range(2)]
    began = time.monotonic()

    run = start_run(folder, corpus, results, addresses)
    wait(lambda: done(results) >= parts // 4, run)
    run.kill()
    run.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in results.glob("*.parquet")}
    expect(len(kept) < parts, "the first run was over before it could be killed; ask for more texts")
    print(f"killed the first run with {len(kept)} of {parts} parts done")

    run = start_run(folder, corpus, results, addresses)
    try:
        fresh = lambda: [path for path in results.glob("*.parquet") if path.name not in kept]  # noqa: E731
        wait(lambda: done(results) >= parts // 2 and fresh(), run)
        worker = int(pq.read_schema(fresh()[0]).metadata[b"worker"])
        at = done(results)
        expect(at < parts, "the second run was over before its worker could be killed; ask for more texts")
        os.kill(worker, signal.SIGKILL)
        print(f"killed a worker with {at} of {parts} parts done")
        expect(run.wait(WITHIN) == 0, (folder / "log").read_text(errors="replace")[-3_000:])
    finally:
        run.kill()
    seconds = time.monotonic() - began

    tables = [pq.read_table(path) for path in sorted(results.glob("*.parquet"))]
    workers = {int(pq.read_schema(path).metadata[b"worker"]) for path in fresh()}
    expect(len(workers) > 2, f"a new worker took over: {workers}")
    ids = np.concatenate([table["id"].to_numpy() for table in tables])
    expect(len(ids) == count, f"{len(ids)} rows of {count}")
    expect(len(np.unique(ids)) == count, "a row is doubled")
    again = [name for name, at in kept.items() if (results / name).stat().st_mtime_ns != at]
    expect(not again, f"parts were done again: {again}")
    vectors = np.concatenate([np.stack(table["vector"].to_numpy()) for table in tables])[np.argsort(ids)]
    with sortie.Client(addresses[0]) as client:
        chosen = random.Random(7).sample(range(count), 500)  # noqa: S311
        alone = client.embed([texts[index] for index in chosen]).vectors
    np.testing.assert_allclose(vectors[chosen], alone, atol=1e-6)
    print(f"{count} rows, each once and with its own vector, in {seconds:.1f} s with both restarts")


def write_corpus(corpus: Path, count: int, parts: int) -> list[str]:
    """Random short texts of the tiny models' words, in files."""
    corpus.mkdir()
    rng = random.Random(3)  # noqa: S311
    texts = [" ".join(f"w{rng.randrange(300)}" for _ in range(rng.randint(3, 20))) for _ in range(count)]
    for part, ids in enumerate(np.array_split(np.arange(count), parts)):
        table = pa.table({"id": ids, "text": [texts[index] for index in ids]})
        pq.write_table(table, corpus / f"part-{part:04}.parquet")
    return texts


def start_server(folder: Path, stack: ExitStack, number: int) -> str:
    """A server of a tiny model in a process; gives its address."""
    model = folder / f"model-{number}"
    shutil.copytree(ORACLE / "folders" / MODEL, model)
    for file, source in json.loads((model / "from.json").read_text()).items():
        shutil.copy(ORACLE / source, model / file)
    address = folder / f"address-{number}"
    command = [os.environ.get("SORTIE_SERVER", "sortie-server"), "--listen", "127.0.0.1:0"]
    command += ["--addr-file", str(address), "--model", f"{MODEL}={model}"]
    log = stack.enter_context((folder / f"server-{number}.log").open("wb"))
    server = subprocess.Popen(command, stdout=log, stderr=log)
    stack.callback(server.wait)
    stack.callback(server.terminate)
    wait(lambda: address.is_file() and address.read_text().strip(), server)
    return f"http://{address.read_text().strip()}"


def start_run(folder: Path, corpus: Path, results: Path, addresses: list[str]) -> subprocess.Popen[bytes]:
    """The example in a process."""
    command = [sys.executable, str(HERE / "ray_embed.py"), str(corpus), str(results), "--model", MODEL]
    for address in addresses:
        command += ["--address", address]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen([*command, "--object-store-mib", "200"], stdout=log, stderr=log)


def done(results: Path) -> int:
    """Parts with a result."""
    return len(list(results.glob("*.parquet")))


def wait(until: object, process: subprocess.Popen[bytes]) -> None:
    """Looks until something holds, and ends where the process does before or it takes too long."""
    end = time.monotonic() + WITHIN
    while not until():  # type: ignore[operator]
        expect(process.poll() is None, f"{process.args} ended with {process.returncode}")
        expect(time.monotonic() < end, f"{process.args} took too long")
        time.sleep(0.01)


def expect(holds: bool, otherwise: str) -> None:
    """Ends with a sentence where something does not hold."""
    if not holds:
        raise SystemExit(otherwise)


if __name__ == "__main__":
    main()
