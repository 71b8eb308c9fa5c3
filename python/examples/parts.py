"""What the examples of all engines share: a corpus in parts, and one part embedded so that it can be done again.

A part is a Parquet file with the columns ``id`` and ``text``. Its result is a file of the same name with ``id`` and
``vector``, which appears whole or not at all. So a part is done where its result is there: a run that was stopped, or
whose workers were killed, is simply started again, and a part that two workers did is one file in the end. No row is lost
and none is doubled, whatever the engine retries.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import sortie


def undone(corpus: Path, results: Path) -> list[str]:
    """Names of the parts without a result."""
    results.mkdir(parents=True, exist_ok=True)
    done = {path.name for path in results.glob("*.parquet")}
    return sorted(path.name for path in corpus.glob("*.parquet") if path.name not in done)


def embed_part(client: sortie.Client, corpus: Path, results: Path, name: str, model: str) -> int:
    """Embeds one part; gives its rows."""
    table = pq.read_table(corpus / name, columns=["id", "text"])
    texts = (text.as_py() for column in table["text"].chunks for text in column)
    vectors = []
    for part in client.bulk(texts, lambda client, texts: client.embed(texts, model=model)):
        part.answer.raise_for_errors()  # or keep the NaN rows, and list them
        vectors += list(part.answer.vectors)
    # Who made it, for people.
    result = pa.table({"id": table["id"], "vector": vectors}).replace_schema_metadata({"worker": str(os.getpid())})
    unfinished = results / f".{name}.{os.getpid()}"
    pq.write_table(result, unfinished)
    unfinished.replace(results / name)
    return table.num_rows
