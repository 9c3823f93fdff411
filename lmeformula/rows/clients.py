"""Which cluster rows are to stay with, and whether its workers have the versions that this process has."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lmeformula.errors import ClusterError, ModelError
from lmeformula.rows.answering import addresses, say

# Of these the whole version must be the same; of others, its first two numbers.
EXACTLY = frozenset({"lmeformula"})
READ = ("lmeformula", "scipy", "pandas", "formulaic")
COMPARED = ("python", "numpy", *READ)


def client_of(cluster: Any, data: Any) -> Any:
    """The client whose workers are to have the rows; None where this process has them.

    Args:
      cluster: a distributed.Client; False for none; None for the current client, of a Dask data frame alone.
      data: the table.
    Returns:
      The client, of which the workers have the right versions.
    Raises:
      ModelError: if it is something else.
      ClusterError: if workers have other versions of Python, NumPy or this package.
    """
    if cluster is False or (cluster is None and not is_dask(data)):
        return None
    distributed = sys.modules.get("distributed")
    if cluster is None:
        if distributed is None:
            return None
        try:
            cluster = distributed.default_client()
        except ValueError:
            # There is none: Dask's own threads read the frame.
            return None
    elif distributed is None or not isinstance(cluster, distributed.Client):
        raise ModelError(
            f"cluster must be a dask.distributed Client, not {type(cluster).__name__}",
            hint="Make one: from dask.distributed import Client; client = Client(). cluster=False reads "
            "the rows into this process.",
        )
    if cluster.status != "running":
        raise ClusterError(
            f"the client of the cluster is {cluster.status}",
            hint="Make a new one: Client(address).",
        )
    check_versions(cluster)
    return cluster


def is_dask(data: Any) -> bool:
    """Whether this is a Dask data frame."""
    kind = getattr(sys.modules.get("dask.dataframe"), "DataFrame", None)
    return kind is not None and isinstance(data, kind)


def check_versions(client: Any, places: Sequence[str] | None = None) -> None:
    """Refuse a cluster whose workers have other versions of Python, NumPy or this package.

    Args:
      client: a distributed.Client.
      places: addresses of the workers that are asked; all of them by default. Those that do not answer at once
        are passed over.
    Raises:
      ClusterError: that names each difference, and says what to install.
    """
    from distributed.versions import get_versions

    asked = addresses(client) if places is None else places
    workers = say(client, {"op": "versions", "packages": list(READ)}, asked)
    here = _versions(get_versions(packages=list(READ)))
    differences: dict[str, list[str]] = {}
    for place, told in workers.items():
        there = _versions(told)
        for name in COMPARED:
            if not _is_same(name, here[name], there[name]):
                what = f"{name} {there[name] or 'is not installed'}"
                differences.setdefault(f"{what} there, {here[name]} here", []).append(place)
    if not differences:
        return
    shown = "; ".join(
        f"{what} (on {len(places)} workers, such as {places[0]})"
        for what, places in differences.items()
    )
    raise ClusterError(
        f"the workers of the cluster have other versions than this process: {shown}",
        hint=f'Install the same on all machines: pip install "lmeformula[dask]=={here["lmeformula"]}" '
        f'"numpy=={here["numpy"]}", with Python {here["python"]}.',
    )


def _versions(told: Mapping[str, Any]) -> dict[str, str]:
    packages = told.get("packages", {})
    found = {name: str(packages.get(name) or "") for name in COMPARED}
    found["python"] = found["python"].split(".final")[0]
    return found


def _is_same(name: str, one: str, other: str) -> bool:
    if name in EXACTLY:
        return one == other
    return one.split(".")[:2] == other.split(".")[:2]
