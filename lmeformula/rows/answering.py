"""Which workers of a cluster answer, and how long one that does not is waited for."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from lmeformula.errors import ClusterError, ModelError
from lmeformula.rows.source import first_line

# Seconds after which a worker that has not answered is looked for; after which a cluster without workers, or
# without a scheduler, is given up.
LOOKS_AFTER, GIVES_UP = 5.0, 60.0
# Seconds in which a worker says that it is there, when it is asked for nothing else; and in which it is known
# whether this process reaches it.
AT_ONCE, STRAIGHT = 20.0, 5.0
# The environment variable with the seconds that a worker may give no sign of life; so many by default.
PATIENCE, SECONDS = "LMEFORMULA_WORKER_SECONDS", 120.0
# One that lives, and works on what was asked, may take so many times as long.
AT_WORK = 30.0
MEMORY = (
    "Give the workers more memory (memory_limit=...), take more of them so that each has fewer rows, or leave "
    "out columns that the formula does not need."
)
GONE = "Start the cluster again, and then the fit."


def patience() -> float:
    """Seconds that a worker may give no sign of life before its rows are read again elsewhere.

    Raises:
      ModelError: if the environment variable that says so is no number above zero.
    """
    said = os.environ.get(PATIENCE)
    if not said:
        return SECONDS
    try:
        found = float(said)
    except ValueError:
        found = 0.0
    if 0.0 < found < math.inf:
        return found
    raise ModelError(
        f"the environment variable {PATIENCE} is {said!r}",
        hint="Write a number of seconds, such as 300.",
    )


class Sign(NamedTuple):
    """What the scheduler knows of a worker.

    Attributes:
      silent: seconds in which it has not been heard of, as far as was looked.
      is_heard: whether it has been heard of since it was looked at first.
      is_paused: whether it takes no work, its memory being nearly full.
      memory: bytes that it may take; 0 where there is no limit.
    """

    silent: float
    is_heard: bool
    is_paused: bool
    memory: int


class Watch:
    """Signs of life of a cluster's workers, as their scheduler has them."""

    def __init__(self, client: Any) -> None:
        self._client = client
        # The scheduler's clock is not ours: what counts is when its word changed.
        self._heard: dict[str, tuple[float, float, bool]] = {}

    def look(self) -> dict[str, Sign]:
        """The workers that the scheduler has, by address, sorted.

        Raises:
          ClusterError: if the scheduler does not answer.
        """
        told, now, found = _scheduler(self._client)["workers"], time.monotonic(), {}
        for place in sorted(told):
            known = told[place]
            seen = float(known["last_seen"])
            before, since, is_heard = self._heard.get(place, (seen, now, False))
            if seen != before:
                since, is_heard = now, True
            self._heard[place] = seen, since, is_heard
            is_paused, memory = known["status"] == "paused", int(known["memory_limit"] or 0)
            found[place] = Sign(now - since, is_heard, is_paused, memory)
        return found


def _scheduler(client: Any) -> Any:
    """What the scheduler says of itself and of its workers."""
    try:
        if client.status in ("closed", "closing"):
            raise OSError("the client is closed")
        return client.sync(client.scheduler.identity, callback_timeout=GIVES_UP)
    except (OSError, TimeoutError, AttributeError, RuntimeError) as error:
        raise ClusterError(
            f"the scheduler of the cluster is gone: {first_line(error)}", hint=GONE
        ) from error


def addresses(client: Any, *, wait: bool = False) -> list[str]:
    """The addresses of a cluster's workers, sorted.

    Args:
      client: a distributed.Client.
      wait: for the first of them, where there are none.
    Raises:
      ClusterError: if the scheduler does not answer, or there is no worker after a while.
    """
    until = time.monotonic() + GIVES_UP
    while True:
        found = sorted(_scheduler(client)["workers"])
        if found or not wait:
            return found
        if time.monotonic() > until:
            raise ClusterError(
                f"the cluster has had no worker for {GIVES_UP:.0f} seconds",
                hint="Start some: cluster.scale(2), or the command dask worker with the scheduler's address. "
                "Where they were there, and are gone, they may have run out of memory. " + MEMORY,
            )
        time.sleep(0.1)


class Straight:
    """A client whose actors are asked by this process itself, not by way of the scheduler; else as it is.

    What goes by the scheduler is packed and unpacked there once more, both ways.
    """

    direct_to_workers = True

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def is_reached(client: Any, place: str) -> bool:
    """Whether this process reaches a worker itself, as it does but where networks are closed."""

    async def asked() -> bool:
        try:
            await asyncio.wait_for(client.rpc(place).identity(), STRAIGHT)
        except (TimeoutError, OSError, RuntimeError, ValueError):
            return False
        return True

    return bool(client.sync(asked))


class Answered(NamedTuple):
    """The addresses of the workers that answer, and of those that do not."""

    places: list[str]
    silent: list[str]


def answered(client: Any) -> Answered:
    """Ask workers whether they are there; the first of them is waited for.

    Raises:
      ClusterError: if none answers at once.
    """
    asked = addresses(client, wait=True)
    told = say(client, {"op": "identity"}, asked)
    found = Answered(
        [place for place in asked if place in told], [place for place in asked if place not in told]
    )
    if not found.places:
        raise ClusterError(
            f"no worker of the cluster answers: {len(asked)} were asked, such as {asked[0]}",
            hint="Look whether they are stopped, or busy with other work. " + GONE,
        )
    return found


def say(client: Any, message: dict[str, Any], places: Sequence[str]) -> dict[str, Any]:
    """What workers answer to a message of the scheduler's, by address, of those that answer at once."""

    async def one(place: str) -> Any:
        asked = client.scheduler.broadcast(msg=message, workers=[place], on_error="ignore")
        try:
            return await asyncio.wait_for(asked, AT_ONCE)
        except (TimeoutError, OSError):
            return {}

    async def each() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await asyncio.gather(*map(one, places))
        return found

    told_of: dict[str, Any] = {}
    for told in client.sync(each):
        told_of |= told
    return told_of
