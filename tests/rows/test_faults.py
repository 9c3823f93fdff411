"""Workers that are killed, stopped, slow, without memory or of other versions, and schedulers that are gone.

All of it happens to processes. What is looked at is that a fit goes on, to the answer of one process, with a
line in its diagnostics; or that it ends in words, with the estimates that it had come to.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import dask.dataframe as dd
import numpy as np
import pytest
from distributed import Client

import lmeformula as lf
from lmeformula.algebra.shared import lay_out
from lmeformula.design.partitions import design_of_partitions
from lmeformula.design.spread import spread
from lmeformula.rows import answering, workers
from lmeformula.rows.parts import Part
from lmeformula.rows.workers import Workers
from tests.rows.cluster import cluster_of
from tests.rows.test_shards import assert_same, table

FORMULA = "y ~ x + (1 | g) + (1 | h)"
# Passes over the rows before something happens: in the middle of the ascent.
MIDDLE = 40


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two processes, whose tests leave them as they were; the last one ends one of them."""
    with cluster_of(2, processes=True) as found:
        yield found


@pytest.fixture
def two() -> Iterator[Client]:
    """Two processes that may be ended."""
    with cluster_of(2, processes=True, memory_limit="1GiB") as found:
        yield found


@pytest.fixture(autouse=True)
def looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "LOOKS_AFTER", 0.5)


@cache
def alone() -> lf.Fit:
    """The answer of one process."""
    return lf.fit(FORMULA, table(), solver="iterative")


def shards_at(client: Client) -> tuple[lf.Design, Workers]:
    """A design of a Dask frame with both workers."""
    frame = dd.from_pandas(table(), npartitions=3)
    made = design_of_partitions(
        lf.parse(FORMULA), frame, client, contrasts=None, weights=None, offset=None
    )
    assert made.shards is not None
    assert isinstance(made.shards.parts, Workers)
    # What workers import for it may take a busy machine long, and they are not heard of then.
    lay_out(made.shards)
    return made, made.shards.parts


class InTheMiddle:
    """Does something in the middle of a fit."""

    def __init__(self, parts: Workers, strike: Callable[[], object], after: int = MIDDLE) -> None:
        self._all, self.left, self._strike = parts._all, after, strike

    def __call__(self, task: Any) -> object:
        self.left -= 1
        if self.left == 0:
            self._strike()
        return self._all(task)


def _pid(part: Part) -> int:
    return os.getpid()


def strike(parts: Workers, number: int) -> int:
    """Send a signal to the first part's worker in the middle of what follows."""
    pid = int(parts.ask(_pid)[0])
    parts._all = InTheMiddle(parts, lambda: os.kill(pid, number))  # type: ignore[method-assign]
    return pid


def test_a_worker_that_stops_is_waited_for_so_long_and_made_good(two, monkeypatch):
    made, parts = shards_at(two)
    monkeypatch.setenv("LMEFORMULA_WORKER_SECONDS", "15")
    pid = strike(parts, signal.SIGSTOP)
    try:
        found = lf.estimate(lf.compile(made))
    finally:
        os.kill(pid, signal.SIGKILL)
    assert_same(found, alone())
    assert "gave no sign of life for" in str(found.diagnostics)


def test_a_worker_that_is_stopped_beforehand_gets_no_rows(two, monkeypatch):
    monkeypatch.setattr(answering, "AT_ONCE", 4.0)
    place, pid = next(iter(two.run(os.getpid).items()))
    os.kill(pid, signal.SIGSTOP)
    try:
        found = lf.fit(FORMULA, table(), cluster=two)
    finally:
        os.kill(pid, signal.SIGKILL)
    assert_same(found, alone())
    assert f"the worker {place} did not answer, and has no rows" in str(found.diagnostics)


def test_a_worker_whose_memory_ends_is_said_to_have_none(two, monkeypatch):
    """What watches over it kills it."""
    monkeypatch.setattr(workers, "MOST_LOST", 1)
    _, parts = shards_at(two)
    with pytest.raises(lf.ClusterError, match="was lost 2 times, as when its workers run") as told:
        parts.ask(_filling, each=[[True, False]])
    assert "memory_limit" in str(told.value)


def _filling(part: Part, is_first: bool) -> None:
    held = []
    for _ in range(200 if is_first else 0):
        held.append(np.ones(2_000_000))
        time.sleep(0.02)


def test_an_array_for_which_there_is_no_memory_is_said_to_be(client):
    _, parts = shards_at(client)
    with pytest.raises(lf.ClusterError, match=r"ran out of memory with .* rows") as caught:
        parts.ask(_exhausted)
    assert "memory_limit" in str(caught.value)


def _exhausted(part: Part) -> None:
    raise MemoryError("no room for an array")


def test_a_slow_worker_is_named(client):
    made, parts = shards_at(client)
    client.run(_slowed, 0.1, workers=[parts._places[0]])
    try:
        found = lf.estimate(lf.compile(made))
    finally:
        client.run(_slowed, 0.0)
    assert_same(found, alone())
    assert f"the worker {parts._places[0]} took" in str(found.diagnostics)


def _slowed(seconds: float) -> None:
    if not hasattr(workers.Guarded, "quickly"):
        workers.Guarded.quickly = workers.Guarded.do  # type: ignore[attr-defined]

    def slowly(self: Any, *given: Any) -> workers.Answer:
        time.sleep(seconds)
        found: workers.Answer = self.quickly(*given)
        return found._replace(seconds=found.seconds + seconds)

    workers.Guarded.do = slowly  # type: ignore[method-assign]


def test_other_versions_are_named(client):
    place = next(iter(client.run(_version, "1.0.0", workers=client_places(client)[:1])))
    try:
        with pytest.raises(lf.ClusterError, match=r"numpy 1\.0\.0 there") as caught:
            lf.fit(FORMULA, table(), cluster=client)
        assert f"numpy=={np.__version__}" in str(caught.value)
        assert place in str(caught.value)
    finally:
        client.run(_version, np.__version__)


def test_a_worker_that_comes_later_with_other_versions_is_left_out(client):
    _, parts = shards_at(client)
    first, other = parts._places
    parts._known.discard(first)
    client.run(_version, "1.0.0", workers=[first])
    try:
        assert parts._usable() == [other]
    finally:
        client.run(_version, np.__version__)
    assert (
        f"the worker {first} was left out: the workers of the cluster have other"
        in parts.report()[0]
    )


def _version(numpy: str) -> None:
    """Let a process have another version, as far as it knows."""
    from distributed import versions

    known = getattr(versions, "known", versions._version_cached)
    versions.known = known
    versions._version_cached = lambda name: numpy if name == "numpy" else known(name)


def client_places(client: Client) -> list[str]:
    return answering.addresses(client)


def test_a_worker_that_hangs_is_made_good(client, monkeypatch):
    """Its process lives and says so, and its work does not end."""
    monkeypatch.setattr(workers, "AT_WORK", 0.25)
    _, parts = shards_at(client)
    monkeypatch.setenv("LMEFORMULA_WORKER_SECONDS", "20")
    first = parts._places[0]
    monkeypatch.setattr(workers, "SILENT", 1.0)
    with pytest.warns(lf.LmeFormulaWarning, match="has not answered"):
        assert len(parts.ask(_hanging_at, first)) == 2
    assert "had not answered after" in parts.report()[0]


def _hanging_at(part: Part, place: str) -> None:
    from distributed import get_worker

    if get_worker().address == place:
        time.sleep(15.0)


def test_a_worker_that_is_killed_is_made_good(client):
    made, parts = shards_at(client)
    strike(parts, signal.SIGKILL)
    found = lf.estimate(lf.compile(made))
    assert_same(found, alone())
    assert "was lost with" in str(found.diagnostics)
    assert "were read again on" in str(found.diagnostics)


def test_rows_that_cannot_be_read_again_end_a_fit_with_its_last_estimates(two):
    """A frame in the memory of the workers alone is gone with them."""
    data = table()
    held = [two.scatter(part) for part in (data[:450], data[450:])]
    frame = dd.from_delayed(held, meta=data.head(0), verify_meta=False)
    made = lf.design(FORMULA, frame)
    assert made.shards is not None
    strike(made.shards.parts, signal.SIGKILL)
    for future in held:
        future.release()
    with pytest.raises(lf.ClusterError, match="cannot be made, or made again") as caught:
        lf.estimate(lf.compile(made))
    assert "x" in caught.value.estimates
    assert "The last iteration had Intercept" in str(caught.value)


ELSEWHERE = """
import time
from distributed import LocalCluster
options = {"processes": False, "protocol": "tcp", "dashboard_address": ":0", "silence_logs": 50}
with LocalCluster(n_workers=1, **options) as cluster:
    print(cluster.scheduler.address, flush=True)
    time.sleep(600)
"""


def test_a_cluster_that_ends_in_the_middle_leaves_the_last_estimates(monkeypatch):
    monkeypatch.setattr(answering, "GIVES_UP", 20.0)
    command = [sys.executable, "-c", ELSEWHERE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            with Client(process.stdout.readline().strip(), set_as_default=True) as client:
                made = spread(lf.design(FORMULA, table()), client)
                assert made.shards is not None
                parts = made.shards.parts
                assert isinstance(parts, Workers)
                parts._all = InTheMiddle(parts, process.kill)  # type: ignore[method-assign]
                with pytest.raises(
                    lf.ClusterError, match="scheduler of the cluster is gone"
                ) as told:
                    lf.estimate(lf.compile(made))
            assert "x" in told.value.estimates
        finally:
            process.kill()


def test_a_cluster_whose_scheduler_is_gone_is_said_to_be(monkeypatch):
    monkeypatch.setattr(answering, "GIVES_UP", 1.0)
    with cluster_of(1) as client:
        shards = spread(lf.design(FORMULA, table()), client).shards
        assert shards is not None
    with pytest.raises(lf.ClusterError, match="the scheduler of the cluster is gone"):
        shards.parts.ask(_pid)
    with pytest.raises(lf.ClusterError, match="the client of the cluster is closed"):
        lf.fit("y ~ x + (1 | g)", table(), cluster=client)


def test_a_cluster_without_workers_is_said_to_be_one(monkeypatch):
    monkeypatch.setattr(answering, "GIVES_UP", 0.5)
    with (
        cluster_of(0) as client,
        pytest.raises(lf.ClusterError, match="has had no worker"),
    ):
        lf.fit("y ~ x + (1 | g)", table(), cluster=client)


@pytest.mark.parametrize("said", ["soon", "-1", "inf"])
def test_a_patience_that_is_no_time_is_refused(said, monkeypatch):
    monkeypatch.setenv("LMEFORMULA_WORKER_SECONDS", said)
    with pytest.raises(lf.ModelError, match="LMEFORMULA_WORKER_SECONDS"):
        answering.patience()
