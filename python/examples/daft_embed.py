"""Embeds a corpus with Daft: a class UDF, whose instances keep a connection each.

    python daft_embed.py CORPUS RESULTS --address http://gateway:50051 --workers 8

Start it again to go on where it was stopped: ``parts.py`` says what makes that safe.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import daft
from parts import embed_part, undone

import sortie


@daft.cls(max_concurrency=2)
class Embedder:
    """One worker; Daft makes it where it runs."""

    def __init__(self, address: str, corpus: str, results: str, model: str) -> None:
        self.client = sortie.Client(address)
        self.corpus, self.results, self.model = Path(corpus), Path(results), model

    @daft.method(return_dtype=daft.DataType.int64())
    def rows(self, part: str) -> int:
        """Embeds a part; gives its rows."""
        return embed_part(self.client, self.corpus, self.results, part, self.model)


def main() -> None:
    """Embeds what is not embedded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--address", required=True, help="a gateway or a server")
    parser.add_argument("--model", default="")
    options = parser.parse_args()
    parts = undone(options.corpus, options.results)
    if not parts:
        print("nothing is left to do")
        return
    embedder = Embedder(options.address, str(options.corpus), str(options.results), options.model)
    frame = daft.from_pydict({"part": parts}).with_column("rows", embedder.rows(daft.col("part")))
    print(f"{sum(frame.to_pydict()['rows'])} rows in {len(parts)} parts")


if __name__ == "__main__":
    main()
