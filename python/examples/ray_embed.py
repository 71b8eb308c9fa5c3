"""Embeds a corpus with Ray Data: actors that keep a connection each, over one gateway or several servers.

    python ray_embed.py CORPUS RESULTS --address http://gateway:50051 --workers 8

Start it again to go on where it was stopped. See ``parts.py`` for what makes that safe.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import ray
from parts import embed_part, undone

import sortie


class Embedder:
    """One worker. Ray makes it anew where its process died, and gives it the parts that it had."""

    def __init__(self, addresses: list[str], corpus: Path, results: Path, model: str) -> None:
        self.clients = [sortie.Client(address) for address in addresses]
        self.corpus, self.results, self.model = corpus, results, model

    def __call__(self, batch: dict[str, np.ndarray[Any, Any]]) -> dict[str, list[Any]]:
        """Embeds parts, each by the server whose turn it is; a gateway has them all behind one address."""
        rows = []
        for number, name in zip(batch["number"], batch["part"], strict=True):
            client = self.clients[number % len(self.clients)]
            rows.append(embed_part(client, self.corpus, self.results, str(name), self.model))
        return {"rows": rows}


def main() -> None:
    """Embeds what is not embedded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--address", action="append", required=True, help="a gateway, or each of several servers")
    parser.add_argument("--model", default="")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--object-store-mib", type=int, help="memory for Ray's objects, where it starts a cluster here")
    options = parser.parse_args()
    parts = undone(options.corpus, options.results)
    if not parts:
        print("nothing is left to do")
        return
    store = options.object_store_mib and options.object_store_mib << 20
    ray.init(include_dashboard=False, object_store_memory=store, log_to_driver=False)
    constructor = (options.address, options.corpus.resolve(), options.results.resolve(), options.model)
    items = [{"number": number, "part": part} for number, part in enumerate(parts)]
    done = ray.data.from_items(items, override_num_blocks=len(parts)).map_batches(
        Embedder,
        fn_constructor_args=constructor,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=options.workers),
        # Workers wait for servers; they compute nothing.
        num_cpus=0.25,
    )
    print(f"{sum(row['rows'] for row in done.iter_rows())} rows in {len(parts)} parts")


if __name__ == "__main__":
    main()
