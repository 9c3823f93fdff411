"""Clusters in this process, or in processes of their own, that start and stop without a word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client, LocalCluster


@contextmanager
def cluster_of(
    workers: int, *, processes: bool = False, memory_limit: str = "auto"
) -> Iterator[Client]:
    """A client of a cluster on this machine, without pages, ports or words of its own."""
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=processes,
            memory_limit=memory_limit,
            dashboard_address=":0",
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
