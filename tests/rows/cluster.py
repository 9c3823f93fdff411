"""Clusters in this process, or in processes of their own, that start and stop without a word."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster
from distributed.utils import get_mp_context

# What workers import once for all: a process that starts has it then, and costs a tenth of a second.
IMPORTED = (
    "distributed",
    "pyarrow",
    "dask.dataframe",
    "lmeformula.api",
    "lmeformula.design.partitions",
    "lmeformula.estimation.exact",
    "lmeformula.estimation.laplace",
    "tests.rows.test_faults",
)


@contextmanager
def cluster_of(
    workers: int, *, processes: bool = False, memory_limit: str = "auto"
) -> Iterator[Client]:
    """A client of a cluster on this machine, without pages, ports or words of its own."""
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
        _started(workers, processes, memory_limit) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _started(workers: int, processes: bool, memory_limit: str) -> LocalCluster:
    if processes:
        # Before, it sets what is imported itself.
        get_mp_context()
        multiprocessing.set_forkserver_preload(list(IMPORTED))
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=processes,
        memory_limit=memory_limit,
        dashboard_address=":0",
        silence_logs=50,
    )
