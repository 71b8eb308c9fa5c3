"""Client of ``sortie.v1``: rerank, embed, classify and tag with encoder models, by NumPy.

    with sortie.Client("http://10.0.0.1:50051") as client:
        answer = client.rerank("parse command line arguments", ["a parser of flags", "a clock"])
        for place in answer.ranking():
            print(place, answer.scores[place])

:class:`Client` blocks, :class:`AsyncClient` is awaited; their methods are the same. Both speak to one address: a server,
or a gateway that spreads each call over a fleet.
"""

from ._bulk import Progress, Slice
from ._bulk_async import AsyncBulkRun
from ._bulk_sync import BulkRun
from ._retry import Retries
from ._settings import Tls
from .aio import AsyncClient
from .answers import (
    Answer,
    ChunkInfo,
    Classified,
    Detokenized,
    Embedded,
    ItemError,
    ItemInfo,
    Ranges,
    Reranked,
    Similarities,
    Span,
    SparseEmbedded,
    Tagged,
    TaggedText,
    Tokenized,
    TokenizedInput,
    TokenMatrix,
    TokensEmbedded,
)
from .client import Client
from .errors import FieldViolation, SortieError
from .info import Limits, LoadReport, ModelInfo
from .inputs import Input, TokenIds, TokenVectors, Windows

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "AsyncBulkRun",
    "AsyncClient",
    "BulkRun",
    "ChunkInfo",
    "Classified",
    "Client",
    "Detokenized",
    "Embedded",
    "FieldViolation",
    "Input",
    "ItemError",
    "ItemInfo",
    "Limits",
    "LoadReport",
    "ModelInfo",
    "Progress",
    "Ranges",
    "Reranked",
    "Retries",
    "Similarities",
    "Slice",
    "SortieError",
    "Span",
    "SparseEmbedded",
    "Tagged",
    "TaggedText",
    "Tls",
    "TokenIds",
    "TokenMatrix",
    "TokenVectors",
    "Tokenized",
    "TokenizedInput",
    "TokensEmbedded",
    "Windows",
]
