"""Second stage, last step: rows of a design that is in memory go to the workers of a cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lmeformula.checkpoint.folder import left
from lmeformula.design.design import Design
from lmeformula.design.shards import cut_levels, lead_of, part_of
from lmeformula.errors import ModelError
from lmeformula.rows.answering import answered
from lmeformula.rows.parts import Part, Shards
from lmeformula.rows.workers import Workers

# By what name a checkpoint knows in how many parts the rows were: sums over others end in other digits.
PARTS = "the number of parts of the rows"


def parts_before() -> int | None:
    """In how many parts the rows were when the fit began that this call goes on with, if there is one."""
    before = left(PARTS)
    return None if before is None else int(before)


def spread(design: Design, client: Any, most: int | None = None) -> Design:
    """Send a design's rows to workers, all rows of a level of its largest term to one.

    Args:
      design: in memory, where a shard that is lost is made from again.
      client: a distributed.Client.
      most: how many shards; one for each worker by default.
    Returns:
      The same design, whose sums over rows are the workers'.
    Raises:
      ModelError: for smooths.
      ClusterError: if there are no workers.
    """
    if not design.terms:
        return design
    for each in (term for term in design.terms if term.shares is not None):
        raise ModelError(
            f"{each.group} has rows of several levels, which are not fitted over the workers of a cluster",
            hint="Fit it in this process, with cluster=False.",
        )
    for curve in (term for term in design.terms if term.role == "population"):
        raise ModelError(
            f"{curve.name} has effects of all rows, which are not fitted over the workers of a cluster",
            hint="Fit it in this process, with cluster=False.",
        )
    lead = lead_of(design.terms)
    term = design.terms[lead]
    counts = np.bincount(term.index, minlength=len(term.levels))
    there = answered(client)
    places = cut_levels(counts, most or len(there.places))

    def pieces(number: int, workers: list[str]) -> tuple[Any, ...]:
        part = part_of(design, lead, places[number])
        # As a future: what is large has no place in the graph of tasks.
        return Part, client.scatter(part, hash=False, workers=workers[:1])

    sizes = [int(counts[place].sum()) for place in places]
    return replace(design, shards=Shards(Workers(client, pieces, sizes, there), lead, places))
