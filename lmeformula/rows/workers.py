"""Parts of the rows that stay with the workers of a Dask cluster, as actors; one that is lost is made again."""

from __future__ import annotations

import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from lmeformula.errors import ClusterError, LmeFormulaWarning
from lmeformula.rows import answering
from lmeformula.rows.answering import (
    AT_WORK,
    MEMORY,
    Answered,
    Straight,
    Watch,
    addresses,
    answered,
    is_reached,
    patience,
)
from lmeformula.rows.clients import check_versions
from lmeformula.rows.parts import Part
from lmeformula.rows.source import first_line

# A part that was lost so often, one time after the other, is lost for a reason.
MOST_LOST = 3
# Seconds after which a worker that does not answer is named.
SILENT = 60.0
# A worker that takes so many times as long as the others, and so many seconds more, is said to.
SLOW, SLOW_SECONDS = 3.0, 1.0
LOST = "was lost"


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
      pieces: number of a part, addresses of workers -> the function that makes it, and its arguments, futures
        among them: it is made on the first of these workers, and what goes before may be done on all of them.
        They are asked for again when the part is lost.
      sizes: how many rows each has, for messages.
      answered: what workers said at first.
    """

    def __init__(
        self,
        client: Any,
        pieces: Callable[[int, list[str]], tuple[Any, ...]],
        sizes: Sequence[int],
        answered: Answered,
    ) -> None:
        self._client, self._pieces, self._sizes = client, pieces, sizes
        self._kept: dict[str, Callable[[int], Task]] = {}
        self._times_lost = [0] * len(sizes)
        self._seconds = [0.0] * len(sizes)
        self._places: list[str] = [""] * len(sizes)
        self._watch, self._known = Watch(client), set(answered.places)
        # Workers that get no rows: those that hang or have other versions, and until they are heard of those
        # that did not answer.
        self._left_out, self._silent = set[str](), set(answered.silent)
        # None reaches the others where one is not reached.
        self._are_reached = True
        self.notes = [
            f"the worker {place} did not answer, and has no rows" for place in answered.silent
        ]
        self._actors: list[Any] = [None] * len(sizes)
        self._under_way: list[Any] = []
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

    def copies(self, value: Any, count: int, size: int) -> Workers:
        """So many parts that have all of a value each, with the same cluster's workers.

        Args:
          value: what each part's rows are.
          count: how many parts.
          size: how many rows that is, for messages.
        """

        def pieces(number: int, workers: list[str]) -> tuple[Any, ...]:
            return Part, self._client.scatter(value, hash=False, workers=workers[:1])

        return Workers(self._client, pieces, [size] * count, answered(self._client))

    def memory(self) -> dict[str, int]:
        """Bytes of memory of each worker that answers, 0 where there is no limit, by address."""
        signs = self._watch.look()
        return {
            place: signs[place].memory for place in answered(self._client).places if place in signs
        }

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
        self._under_way = sent
        found = [self._answer(number, task, call) for number, call in enumerate(sent)]
        # Machines may come and go for hours: what matters is whether the work gets on between.
        self._times_lost = [0] * len(self)
        return found

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
            if isinstance(found, Answer):
                break
            self._make_again(number, found)
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

    def _waited(self, number: int, call: Any) -> Answer | str:
        """The answer, or what happened to the worker."""
        began, is_said = time.monotonic(), False
        while call is not None:
            try:
                found: Answer = call.result(timeout=answering.LOOKS_AFTER)
            except TimeoutError:
                waited = time.monotonic() - began
                if happened := self._happened(number, waited):
                    return happened
                if not is_said and waited > SILENT and self._are_others_done(call):
                    is_said = True
                    warn_of_silence(self._places[number], self._sizes[number])
            except (OSError, RuntimeError, ValueError):
                break
            else:
                return found
        return LOST

    def _are_others_done(self, call: Any) -> bool:
        """Whether some have answered already, and wait for one that has not."""
        return any(other.done() for other in self._under_way if other not in (None, call))

    def _happened(self, number: int, waited: float) -> str:
        """What happened to a worker that was waited for; nothing where it is to be waited for."""
        place, most = self._places[number], patience()
        sign = self._watch.look().get(place)
        if sign is None:
            return LOST
        if sign.silent > most:
            return f"gave no sign of life for {sign.silent:.0f} s"
        if waited > AT_WORK * most:
            self._left_out.add(place)
            return f"had not answered after {waited:.0f} s"
        return ""

    def _make_again(self, number: int, happened: str) -> None:
        place = self._places[number]
        self._lost(number)
        self._actors[number] = self._ready(number, self._started(number))
        self.notes.append(
            f"the worker {place} {happened} with {self._sizes[number]:,} rows, which were read again on "
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
        places = self._usable()
        taken = [place for i, place in enumerate(self._places) if i != number]
        places.sort(key=taken.count)
        self._places[number] = places[0]
        try:
            return self._client.submit(
                Guarded,
                *self._pieces(number, places),
                actor=True,
                workers=[places[0]],
                allow_other_workers=False,
                key=f"lmeformula-shard-{uuid.uuid4().hex}",
            )
        except KeyError:
            # A worker went that the scheduler had a moment before.
            self._lost(number)
            return self._started(number)
        except (OSError, RuntimeError, ValueError) as error:
            return self._started_again(number, error)

    def _usable(self) -> list[str]:
        """The workers that rows may go to, which are waited for where there are none."""
        until = time.monotonic() + answering.GIVES_UP
        while True:
            signs = {
                place: sign
                for place, sign in self._watch.look().items()
                if place not in self._left_out
                and sign.silent <= patience()
                and (sign.is_heard or place not in self._silent)
            }
            found = [place for place, sign in signs.items() if not sign.is_paused]
            for place in found:
                self._check(place)
            found = [place for place in found if place in self._known]
            if found:
                return found
            if time.monotonic() > until:
                break
            time.sleep(0.1)
        if signs:
            raise ClusterError(
                "the memory of all workers of the cluster is nearly full, and they take no more rows",
                hint=MEMORY,
            )
        if self._watch.look():
            raise ClusterError(
                f"no worker of the cluster answers any more: {'; '.join(self.notes) or 'none did'}",
                hint=answering.GONE,
            )
        return addresses(self._client, wait=True)

    def _check(self, place: str) -> None:
        """Leave a worker out that came later, with other versions."""
        if place in self._known:
            return
        try:
            check_versions(self._client, [place])
        except ClusterError as error:
            self._left_out.add(place)
            self.notes.append(f"the worker {place} was left out: {error.problem}")
        else:
            self._known.add(place)

    def _started_again(self, number: int, error: Exception) -> Any:
        """The same where its worker is gone; other errors are what they are."""
        place = self._places[number]
        sign = self._watch.look().get(place)
        if sign is not None and sign.silent <= patience() and place not in self._left_out:
            raise self._unmakeable(number, error) from error
        self._lost(number)
        return self._started(number)

    def _ready(self, number: int, future: Any) -> Any:
        """The actor, when its rows are there."""
        import distributed

        began = time.monotonic()
        while True:
            try:
                return self._straight(number, future.result(timeout=answering.LOOKS_AFTER))
            except (TimeoutError, distributed.TimeoutError) as error:
                if self._happened(number, time.monotonic() - began):
                    # It waits for a worker that is gone.
                    future, began = self._started_again(number, error), time.monotonic()
            except MemoryError as error:
                raise ClusterError(
                    f"a worker ran out of memory over {self._sizes[number]:,} rows", hint=MEMORY
                ) from error
            except Exception as error:
                future = self._started_again(number, error)

    def _straight(self, number: int, actor: Any) -> Any:
        """An actor that this process asks itself, where it reaches its worker."""
        if self._are_reached and not self._client.direct_to_workers:
            self._are_reached = is_reached(self._client, self._places[number])
            if self._are_reached:
                actor._client = Straight(self._client)
        return actor

    def _unmakeable(self, number: int, error: Exception) -> ClusterError:
        return ClusterError(
            f"a shard of {self._sizes[number]:,} rows cannot be made, or made again: {first_line(error)}",
            hint="Its partitions must be there to be read again: give a frame that reads files, or one that is "
            "persisted and whose futures are held. " + MEMORY,
        )


def warn_of_silence(place: str, size: int) -> None:
    """Warn of a worker that others wait for."""
    warnings.warn(
        f"the worker {place}, which has {size:,} rows, has not answered for {SILENT:.0f} s: see what else "
        f"runs there. Without any sign of life its rows are read again elsewhere after {patience():.0f} s, "
        f"else after {AT_WORK * patience():.0f} s; the environment variable {answering.PATIENCE} has the "
        "first of these",
        LmeFormulaWarning,
        stacklevel=2,
    )


def _tasks(
    what: str, first: tuple[Any, ...], given: tuple[Any, ...], each: Sequence[Sequence[Any]]
) -> Callable[[int], Task]:
    def of(number: int) -> Task:
        return Task(what, (*first, (*given, *(one[number] for one in each))))

    return of
