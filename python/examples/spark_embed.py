"""Embeds a corpus with Spark's ``mapInPandas``: a client for each task, made where the task runs.

    spark-submit --py-files parts.py spark_embed.py CORPUS RESULTS --address http://gateway:50051

CORPUS and RESULTS lie where every executor sees them. Start it again to go on where it was stopped, speculative execution
and retried tasks included: ``parts.py`` says what makes that safe.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from parts import embed_part, undone
from pyspark import TaskContext
from pyspark.sql import SparkSession

import sortie


def main() -> None:
    """Embeds what is not embedded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--address", action="append", required=True, help="a gateway, or each of several servers")
    parser.add_argument("--model", default="")
    options = parser.parse_args()
    corpus, results, model, addresses = options.corpus, options.results, options.model, options.address

    def embed(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        # gRPC does not survive the fork of Spark's daemon: the client is made in the worker, never before.
        context = TaskContext.get()
        task = context.partitionId() if context else 0
        with sortie.Client(addresses[task % len(addresses)]) as client:
            for frame in frames:
                rows = [embed_part(client, corpus, results, name, model) for name in frame["part"]]
                yield pd.DataFrame({"part": frame["part"], "rows": rows})

    parts = undone(corpus, results)
    if not parts:
        print("nothing is left to do")
        return
    spark = SparkSession.builder.getOrCreate()
    frame = spark.createDataFrame([(name,) for name in parts], "part string").repartition(len(parts), "part")
    done = frame.mapInPandas(embed, "part string, rows long").groupBy().sum("rows").first()
    print(f"{done[0] if done else 0} rows in {len(parts)} parts")


if __name__ == "__main__":
    main()
