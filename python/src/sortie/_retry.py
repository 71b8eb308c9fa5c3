"""Whether a failed attempt is followed by another, and when. Neither a socket nor a clock: time is passed in.

The rules are those of the Rust client with one server (docs/dispatch.md). A call's attempts:

- after a "not again" (``grpc-retry-pushback-ms: -1``) there is none;
- a refusal for load comes again when the server says, else after a backoff; in the bulk lane for as long as there is
  time, for nobody waits for it;
- the first death of a connection is sent again for free; further ones, and a server about to stop, are paid for;
- a fault of the server (INTERNAL and the like) is sent again once, for the next one may be another's;
- anything else, a spent timeout too, is the answer.

Nothing is sent past the call's own deadline, nor a wait begun that would end there. Retries of interactive calls are
paid for from one budget for the client: a server that refuses more than it answers is not asked several times as much.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from .errors import Failure

Lane: TypeAlias = Literal["interactive", "bulk"]
"""The priority class: somebody waits for the answer, or nobody does."""

FAULTS = ("INTERNAL", "UNKNOWN", "DATA_LOSS", "ABORTED", "CANCELLED")
"""Codes that say that the server failed, rather than the request."""

MAX_DOUBLINGS = 16
"""Doublings after which a wait has long reached its limit."""


@dataclass(frozen=True)
class Retries:
    """How a client retries. The defaults are those of the Rust client."""

    max_attempts: int = 5
    """Most attempts of one call (gRFC A6); 1 never retries. Refusals of bulk calls do not count."""
    backoff: float = 0.025
    """Seconds before the first retry where the server names none: a few round trips. It doubles each time, with full
    jitter."""
    max_backoff: float = 0.25
    """Longest such wait, seconds: somebody waits."""
    bulk_backoff: float = 0.25
    """The first wait in the bulk lane, seconds: nobody waits, so it is long."""
    max_bulk_backoff: float = 10.0
    """The longest there, seconds."""
    budget_share: float = 0.05
    """Retries that each answered call adds to the budget: one for twenty."""
    budget_burst: float = 10.0
    """Retries that can be saved up, and that a new client has."""
    budget_floor: float = 1.0
    """However little there is in the budget, one retry is let through this often, seconds: a client with one call a
    minute must be able to retry it."""


@dataclass
class RetryBudget:
    """What paid retries are drawn on; one for each client. Used under a lock, or by one thread."""

    retries: Retries
    left: float = field(init=False)
    floor_at: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self.left = self.retries.budget_burst

    def answered(self) -> None:
        """A call was answered."""
        self.left = min(self.left + self.retries.budget_share, self.retries.budget_burst)

    def refused(self) -> None:
        """A server refused for load: as much is lost as an answer would have added."""
        self.left = max(self.left - self.retries.budget_share, 0.0)

    def pay(self, now: float) -> bool:
        """Pays for one retry; ``False`` where there is nothing to pay with."""
        if self.left >= 1.0:
            self.left -= 1.0
            return True
        if now - self.floor_at >= self.retries.budget_floor:
            self.floor_at = now
            return True
        return False


@dataclass
class Attempts:
    """The attempts of one call."""

    retries: Retries
    budget: RetryBudget
    lane: Lane
    deadline: float
    """On the clock that ``now`` is read from; infinite where there is none."""
    once: bool = False
    """No retries, whatever happens."""
    rng: random.Random = field(default_factory=random.Random)
    made: int = 0
    """Attempts that were made."""
    counted: int = 0
    """Those that count."""
    faults: int = 0
    free: bool = True
    """The free retry is still there."""

    def start(self) -> None:
        """One attempt is sent."""
        self.made += 1
        self.counted += 1

    def next_wait(self, failure: Failure, now: float) -> float | None:
        """Seconds until the next attempt; ``None`` where there is none."""
        code = failure.error.code
        bulk = self.lane == "bulk"
        overloaded = code == "RESOURCE_EXHAUSTED"
        never = failure.pushback is not None and failure.pushback.seconds is None
        if overloaded:
            self.budget.refused()
            if bulk:
                self.counted -= 1
        if code in FAULTS:
            self.faults += 1
        again = overloaded or code == "UNAVAILABLE" or (code in FAULTS and self.faults == 1)
        if self.once or not again or never:
            return None
        if self.counted >= self.retries.max_attempts:
            return None
        wait = self._backoff()
        if failure.pushback is not None and failure.pushback.seconds is not None:
            # Not before the server said; and not all of those whom it told the same at once.
            wait += failure.pushback.seconds
        if now + wait >= self.deadline:
            return None
        if failure.died and self.free:
            self.free = False
            return wait
        return wait if (overloaded and bulk) or self.budget.pay(now) else None

    def _backoff(self) -> float:
        bulk = self.lane == "bulk"
        base, limit = self.retries.backoff, self.retries.max_backoff
        if bulk:
            base, limit = self.retries.bulk_backoff, self.retries.max_bulk_backoff
        doublings = min(max(self.made - 1, 0), MAX_DOUBLINGS)
        return min(base * 2.0**doublings, limit) * self.rng.random()
