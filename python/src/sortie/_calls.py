"""What both clients do alike with a call, before it is sent and when it fails."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from google.protobuf.message import Message

from .errors import Failure, SortieError

Clock = Callable[[], float]
"""Seconds that only grow."""

CLOCK: Clock = time.monotonic
"""The clock of deadlines."""


def serialized(message: Message, most: int) -> bytes:
    """The bytes of a message, where they are not too many."""
    size = message.ByteSize()
    if size > most:
        raise SortieError(
            "OUT_OF_RANGE",
            f"the request has {size} bytes, at most {most} are taken; send fewer items at once, or use bulk()",
            reason="MESSAGE_TOO_LARGE",
            facts={"bytes": str(size), "max_message_bytes": str(most)},
        )
    return message.SerializeToString()


def out_of_time(last: Failure | None) -> SortieError:
    """The error of a call whose time has run out between two attempts."""
    return last.error if last else SortieError("DEADLINE_EXCEEDED", "the timeout passed")


def closed() -> SortieError:
    """The error of a call whose client was closed, or whose bulk run was, under it."""
    return SortieError("CANCELLED", "the client was closed during the call")


def grpc_timeout(left: float) -> float | None:
    """As gRPC takes it."""
    return None if math.isinf(left) else left


def check_process(made_in: int, here: int) -> None:
    """Refuses to go on in a forked process: gRPC's threads stayed in the parent."""
    if made_in != here:
        raise RuntimeError(
            "this client has connected before the process forked, and gRPC does not survive that; make a client in each "
            "process (it connects with its first call)"
        )
