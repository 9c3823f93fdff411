"""Parts of the rows that stay with the workers of a Dask cluster, as actors; one that is lost is made again."""

from __future__ import annotations

import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from lmeformula.errors import ClusterError, LmeFormulaWarning
from lmeformula.rows.parts import Part
from lmeformula.rows.source import first_line

# A part that was lost so often is lost for a reason.
MOST_LOST = 3
# Seconds after which a worker that has not answered is looked for; after which a cluster without workers, or
# without a scheduler, is given up.
LOOKS_AFTER, GIVES_UP = 5.0, 60.0
# Seconds after which a worker that does not answer is named.
SILENT = 60.0
# A worker that takes so many times as long as the others, and so many seconds more, is said to.
SLOW, SLOW_SECONDS = 3.0, 1.0
MEMORY = (
    "Give the workers more memory (memory_limit=...), take more of them so that each has fewer rows, or leave "
    "out columns that the formula does not need."
)


class Answer(NamedTuple):
    """What a part says: its answer, or the error that its own work raised; and how long it took."""

    value: Any
    error: Exception | None
    seconds: float


class Guarded:
    """A part as an actor: what its work raises is an answer, so that other errors are the cluster's."""

    def __init__(self, made: Callable[..., Part], *given: Any) -> None:
        self._part = made(*given)

    def do(self, what: str, *given: Any) -> Answer:
        """Ask, or keep."""
        began = time.perf_counter()
        try:
            value, error = getattr(self._part, what)(*given), None
        except Exception as raised:
            value, error = None, raised
        return Answer(value, error, time.perf_counter() - began)


class Task(NamedTuple):
    """What is asked of one part."""

    what: str
    given: tuple[Any, ...]


class Workers:
    """Parts with the workers of a cluster; see `Parts`.

    Args:
      client: a distributed.Client.
      pieces: number of a part -> the function that makes it, and its arguments, futures among them. They are
        asked for again when the part is lost.
      sizes: how many rows each has, for messages.
    """

    def __init__(
        self,
        client: Any,
        pieces: Callable[[int], tuple[Any, ...]],
        sizes: Sequence[int],
    ) -> None:
        self._client, self._pieces, self._sizes = client, pieces, sizes
        self._kept: dict[str, Callable[[int], Task]] = {}
        self._times_lost = [0] * len(sizes)
        self._seconds = [0.0] * len(sizes)
        self._places: list[str] = [""] * len(sizes)
        self.notes: list[str] = []
        self._actors: list[Any] = [None] * len(sizes)
        for number, actor in enumerate([self._started(i) for i in range(len(sizes))]):
            self._actors[number] = self._ready(number, actor)

    def __len__(self) -> int:
        return len(self._sizes)

    def __reduce__(self) -> NoReturn:
        raise ClusterError(
            "rows with the workers of a cluster cannot be saved, or sent to another process",
            hint="Save the fit: it holds no rows.",
        )

    def ask(
        self, function: Callable[..., Any], *given: Any, each: Sequence[Sequence[Any]] = ()
    ) -> list[Any]:
        """See `Parts`."""
        return self._all(_tasks("ask", (function,), given, each))

    def keep(
        self,
        name: str,
        function: Callable[..., Any],
        *given: Any,
        each: Sequence[Sequence[Any]] = (),
    ) -> list[Any]:
        """See `Parts`."""
        task = _tasks("keep", (name, function), given, each)
        found = self._all(task)
        # What was kept first is kept first again: later ones may read it.
        self._kept[name] = task
        return found

    def report(self) -> tuple[str, ...]:
        """What happened to the cluster, in words: parts that were lost, workers that are slow."""
        found = list(self.notes)
        ordered = sorted(self._seconds)
        usual = ordered[(len(ordered) - 1) // 2]
        for place, seconds in zip(self._places, self._seconds, strict=True):
            if seconds > SLOW * usual and seconds > usual + SLOW_SECONDS:
                found.append(
                    f"the worker {place} took {seconds:.1f} s where others took {usual:.1f} s, and each pass "
                    "waits for it: see what else runs there, or leave it out"
                )
        return tuple(found)

    def close(self) -> None:
        """Let the workers forget their rows."""
        self._actors = [None] * len(self)

    def _all(self, task: Callable[[int], Task]) -> list[Any]:
        if self._actors[0] is None:
            raise ClusterError(
                "the rows of this design are no longer with the workers",
                hint="Make the design again.",
            )
        sent = [self._sent(number, task(number)) for number in range(len(self))]
        return [self._answer(number, task, call) for number, call in enumerate(sent)]

    def _sent(self, number: int, task: Task) -> Any:
        """The call, under way; None where its worker is gone."""
        try:
            return self._actors[number].do(task.what, *task.given)
        except (OSError, RuntimeError, ValueError):
            return None

    def _answer(self, number: int, task: Callable[[int], Task], call: Any) -> Any:
        """What a part says; one that is lost on the way is made again, and asked again."""
        while True:
            found = self._waited(number, call)
            if found is not None:
                break
            self._make_again(number)
            call = self._sent(number, task(number))
        self._seconds[number] += found.seconds
        if isinstance(found.error, MemoryError):
            raise ClusterError(
                f"the worker {self._places[number]} ran out of memory with {self._sizes[number]:,} rows: "
                f"{first_line(found.error)}",
                hint=MEMORY,
            ) from found.error
        if found.error is not None:
            raise found.error
        return found.value

    def _waited(self, number: int, call: Any) -> Answer | None:
        """The answer; None where the worker was lost."""
        began, is_said = time.monotonic(), False
        while call is not None:
            try:
                found: Answer = call.result(timeout=LOOKS_AFTER)
            except TimeoutError:
                if self._places[number] not in self._addresses():
                    return None
                if not is_said and time.monotonic() - began > SILENT:
                    is_said = True
                    warn_of_silence(self._places[number], self._sizes[number])
            except (OSError, RuntimeError, ValueError):
                return None
            else:
                return found
        return None

    def _make_again(self, number: int) -> None:
        place = self._places[number]
        self._lost(number)
        self._actors[number] = self._ready(number, self._started(number))
        self.notes.append(
            f"the worker {place} was lost with {self._sizes[number]:,} rows, which were read again on "
            f"{self._places[number]}; the fit went on"
        )
        for task in self._kept.values():
            self._answer(number, task, self._sent(number, task(number)))

    def _lost(self, number: int) -> None:
        """Count it, and give up a part that is lost again and again."""
        self._times_lost[number] += 1
        if self._times_lost[number] > MOST_LOST:
            raise ClusterError(
                f"a shard of {self._sizes[number]:,} rows was lost {self._times_lost[number]} times, as when "
                "its workers run out of memory",
                hint=MEMORY,
            )

    def _started(self, number: int) -> Any:
        """A future of an actor, on the worker that has fewest."""
        places = self._addresses(wait=True)
        taken = [place for i, place in enumerate(self._places) if i != number]
        self._places[number] = min(places, key=taken.count)
        try:
            return self._client.submit(
                Guarded,
                *self._pieces(number),
                actor=True,
                workers=[self._places[number]],
                allow_other_workers=False,
                key=f"lmeformula-shard-{uuid.uuid4().hex}",
            )
        except (OSError, RuntimeError, ValueError) as error:
            return self._started_again(number, error)

    def _started_again(self, number: int, error: Exception) -> Any:
        """The same where its worker is gone; other errors are what they are."""
        if self._places[number] in self._addresses():
            raise self._unmakeable(number, error) from error
        self._lost(number)
        return self._started(number)

    def _ready(self, number: int, future: Any) -> Any:
        """The actor, when its rows are there."""
        import distributed

        while True:
            try:
                return future.result(timeout=LOOKS_AFTER)
            except (TimeoutError, distributed.TimeoutError) as error:
                if self._places[number] not in self._addresses():
                    # It waits for a worker that is gone.
                    future = self._started_again(number, error)
            except MemoryError as error:
                raise ClusterError(
                    f"a worker ran out of memory over {self._sizes[number]:,} rows", hint=MEMORY
                ) from error
            except Exception as error:
                future = self._started_again(number, error)

    def _unmakeable(self, number: int, error: Exception) -> ClusterError:
        return ClusterError(
            f"a shard of {self._sizes[number]:,} rows cannot be made, or made again: {first_line(error)}",
            hint="Its partitions must be there to be read again: give a frame that reads files, or one that is "
            "persisted and whose futures are held. " + MEMORY,
        )

    def _addresses(self, *, wait: bool = False) -> list[str]:
        """The workers' addresses, of which there may be none unless they are waited for."""
        return addresses(self._client, wait=wait)


def warn_of_silence(place: str, size: int) -> None:
    """Warn of a worker that others wait for."""
    warnings.warn(
        f"the worker {place}, which has {size:,} rows, has not answered for {SILENT:.0f} s: see what else "
        "runs there. One that hangs is given up when the scheduler does, after "
        "distributed.scheduler.worker-ttl; its rows are then read again elsewhere",
        LmeFormulaWarning,
        stacklevel=2,
    )


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
        try:
            if client.status in ("closed", "closing"):
                raise OSError("the client is closed")
            found = sorted(client.sync(client.scheduler.ncores, callback_timeout=GIVES_UP))
        except (OSError, TimeoutError, AttributeError, RuntimeError) as error:
            raise ClusterError(
                f"the scheduler of the cluster is gone: {first_line(error)}",
                hint="Start the cluster again, and then the fit.",
            ) from error
        if found or not wait:
            return found
        if time.monotonic() > until:
            raise ClusterError(
                f"the cluster has had no worker for {GIVES_UP:.0f} seconds",
                hint="Start some: cluster.scale(2), or the command dask worker with the scheduler's address. "
                "Where they were there, and are gone, they may have run out of memory. " + MEMORY,
            )
        time.sleep(0.1)


def _tasks(
    what: str, first: tuple[Any, ...], given: tuple[Any, ...], each: Sequence[Sequence[Any]]
) -> Callable[[int], Task]:
    def of(number: int) -> Task:
        return Task(what, (*first, (*given, *(one[number] for one in each))))

    return of
