"""Second stage over the partitions of a Dask frame: what a design learns is put together here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from lmeformula.arrays import Ints
from lmeformula.design.absent import elsewhere
from lmeformula.design.build import Contrasts, warn_of_dropped
from lmeformula.design.build import design as design_of
from lmeformula.design.design import Design, recipe_of
from lmeformula.design.fixed import independent_columns
from lmeformula.design.functions import FUNCTIONS
from lmeformula.design.given import Given
from lmeformula.design.observed import Observed, aliases_of
from lmeformula.design.partition import (
    Asked,
    Learned,
    Told,
    cut,
    cut_again,
    learn,
    piece_of,
    put_together,
    told_of,
)
from lmeformula.design.recipe import Recipe
from lmeformula.design.shards import cut_levels, lead_of
from lmeformula.design.used import columns_used
from lmeformula.errors import ClusterError, FormulaDataError, LmeFormulaError, ModelError
from lmeformula.formula import expand_dot
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import Call, walk
from lmeformula.formula.parts import expressions
from lmeformula.formula.smooths import is_smooth
from lmeformula.rows.answering import MEMORY, answered
from lmeformula.rows.parts import Shards
from lmeformula.rows.source import Source, first_line
from lmeformula.rows.workers import Workers

# Of these all that they learn is levels, which the rows that are kept have.
BY_LEVELS = frozenset({"factor", "as.factor", "ordered", "as.ordered"})
READ_HERE = "cluster=False reads the rows into this process."


def design_of_partitions(
    parsed: Formula,
    data: Any,
    client: Any,
    *,
    contrasts: Contrasts | None,
    weights: str | None,
    offset: str | None,
    most: int | None = None,
) -> Design:
    """Build a design whose rows stay with workers.

    Two passes: the first finds the rows of each partition that tell what a design learns of its data, such as
    levels; the second builds arrays there, and sends each row to the worker that has its level of the largest
    term.

    Args:
      parsed: the formula.
      data: a Dask data frame.
      client: a distributed.Client.
      contrasts: as of `design`.
      weights, offset: names of columns.
      most: how many shards; one for each worker by default.
    Raises:
      ModelError: for what is learned from all rows together, and for several linear predictors.
      FormulaDataError: as of `design`.
      ClusterError: if partitions cannot be read there.
    """
    given = {str(name): name for name in data.columns}
    named = tuple(name for name in (weights, offset) if name is not None)
    if parsed.fixed.template:
        parsed = expand_dot(parsed, tuple(given))
    _check_formula(parsed)
    used = tuple(dict.fromkeys([*columns_used(parsed, tuple(given)), *named]))
    asked = Asked(parsed, tuple(name for name in used if name in given), weights, offset)
    there = answered(client)
    table = data[[given[name] for name in asked.columns]] if asked.columns else data
    frame = _Frame(client, table, there.places)
    learned: list[Learned] = frame.each(learn, asked)
    known = _known(parsed, tuple(given), learned, contrasts, weights, offset)
    if not known.terms:
        raise ModelError(
            "the formula has no random-effects term, and rows stay with workers by levels of one",
            hint="Add one, such as (1 | group).",
        )
    lead = lead_of(known.terms)
    pieces = frame.futures(piece_of, asked, frame.everywhere(known), lead)
    told: list[Told] = frame.gathered([frame.future(told_of, each) for each in pieces])
    design, kept = _settled(known, told)
    counts = np.sum([each.counts for each in told], axis=0)
    places = cut_levels(counts, most or len(there.places))
    cuts = {
        number: [frame.future(cut, each, lead, place) for each in pieces]
        for number, place in enumerate(places)
    }
    del pieces
    bare = replace(design, recipe=None)

    def made(number: int, workers: list[str]) -> tuple[Any, ...]:
        place = places[number]
        own = cuts.pop(number, None)
        if own is None:
            again = frame._replace(workers=workers)
            own = again.futures(cut_again, asked, again.everywhere(known), lead, place)
        without_rows = client.scatter(bare, hash=False, workers=workers[:1])
        return put_together, without_rows, kept, lead, place, *own

    sizes = [int(counts[place].sum()) for place in places]
    workers = Workers(client, made, sizes, there)
    origin = (
        f"{sum(each.num_rows for each in told):,} of a Dask data frame, with {len(places)} workers"
    )
    return replace(design, shards=Shards(workers, lead, places), given=Given(origin=origin))


class _Frame(NamedTuple):
    """A Dask frame whose partitions are worked on where they are, by these workers while they are there."""

    client: Any
    frame: Any
    workers: list[str]

    def future(self, function: Any, *given: Any) -> Any:
        """What a function says of what is given, as a future."""
        return self.client.submit(
            function, *given, pure=False, workers=self.workers, allow_other_workers=True
        )

    def futures(self, function: Any, *given: Any) -> list[Any]:
        """What a function of a partition and of what is given says of each, as futures."""
        parts = self.client.compute(
            self.frame.to_delayed(), workers=self.workers, allow_other_workers=True
        )
        return [self.future(function, part, *given) for part in parts]

    def everywhere(self, value: Any) -> Any:
        """A value that all of these workers have, as a future."""
        return self.client.scatter(value, broadcast=True, hash=False, workers=self.workers)

    def each(self, function: Any, *given: Any) -> list[Any]:
        """The same, here."""
        return self.gathered(self.futures(function, *given))

    def gathered(self, futures: list[Any]) -> list[Any]:
        """Answers of workers; whatever else is raised is said in our words."""
        try:
            return list(self.client.gather(futures))
        except LmeFormulaError:
            raise
        except MemoryError as error:
            raise ClusterError(
                "a worker ran out of memory over a partition", hint=MEMORY
            ) from error
        except Exception as error:
            raise ClusterError(
                f"a partition of the Dask data frame cannot be read: {first_line(error)}",
                hint="Where workers were lost, as when they run out of memory: " + MEMORY,
            ) from error


def _check_formula(parsed: Formula) -> None:
    if parsed.further:
        raise ModelError(
            "formulas of several parameters are not fitted over the workers of a cluster",
            hint=READ_HERE,
        )
    for expression in expressions(parsed):
        for node in walk(expression):
            if not isinstance(node, Call) or node.function in BY_LEVELS:
                continue
            function = FUNCTIONS.get(node.function)
            learns = function is not None and (function.is_stateful or function.is_of_other_rows)
            if learns or is_smooth(node):
                raise ModelError(
                    f"{node.function}() learns from all rows together, which are with several workers",
                    formula=parsed.text,
                    span=node.span,
                    hint="Compute it beforehand, as a column of the data frame; or " + READ_HERE,
                )


def _known(
    parsed: Formula,
    columns: tuple[str, ...],
    learned: Sequence[Learned],
    contrasts: Contrasts | None,
    weights: str | None,
    offset: str | None,
) -> Design:
    """The design of the rows that tell what it learns, with all fixed columns."""
    tables = [each.table for each in learned if each.table.num_rows]
    num_rows = sum(each.num_rows for each in learned)
    if not num_rows:
        raise FormulaDataError("the data has no rows", hint="Pass at least one row.")
    if not tables:
        raise FormulaDataError(
            f"no row is complete: each of {num_rows:,} misses some variable",
            hint="Leave the emptiest of the variables out of the formula, or fill their values in.",
        )

    def blocks(names: list[str]) -> Iterator[Any]:
        for table in tables:
            yield table.select(names)

    source = Source("a Dask data frame", columns, blocks)
    return design_of(
        parsed, source, contrasts=contrasts, weights=weights, offset=offset, keeps_all=True
    )


def _settled(known: Design, told: Sequence[Told]) -> tuple[Design, Ints]:
    """The design of all rows, without them, and which of the fixed columns it keeps."""
    n = sum(each.num_complete for each in told)
    corners = np.concatenate([each.corner for each in told])
    kept = independent_columns(corners)
    dropped = tuple(name for i, name in enumerate(known.names) if i not in set(kept))
    warn_of_dropped(len(kept), dropped)
    recipe = recipe_of(known)
    assert recipe.observed is not None
    observed = replace(_observed(recipe.observed, told), aliases=aliases_of(corners, kept))

    def absent(*shape: int) -> Any:
        return elsewhere(n, *shape)

    response = known.response
    if response is not None:
        shape = response.values.shape[1:]
        trials = None if response.trials is None else absent()
        response = replace(response, values=absent(*shape), trials=trials)
    made: Recipe = replace(recipe, kept=tuple(kept), observed=observed)
    design = replace(
        known,
        response=response,
        X=absent(len(kept)),
        names=tuple(known.names[i] for i in kept),
        dropped=dropped,
        terms=tuple(
            replace(term, values=absent(len(term.columns)), index=absent()) for term in known.terms
        ),
        offsets=(absent(),),
        weights=None if known.weights is None else absent(),
        rows=absent(),
        num_missing=sum(each.num_rows for each in told) - n,
        recipe=made,
    )
    return design, np.array(kept, np.int64)


def _observed(known: Observed, told: Sequence[Told]) -> Observed:
    """The summary of all rows: levels and ranges are known, means and counts are added up."""
    sums = np.sum([each.sums for each in told], axis=0)
    present = np.sum([each.present for each in told], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / present
    columns = tuple(
        column._replace(mean=float(mean))
        for column, mean in zip(known.columns, means[:-1], strict=True)
    )
    cells: dict[tuple[int, ...], int] = {}
    for each in told:
        for cell, count in each.cells.items():
            cells[cell] = cells.get(cell, 0) + count
    ordered = sorted(cells)
    width = len(known.factors)
    return replace(
        known,
        columns=columns,
        cells=np.array(ordered, np.int64).reshape(len(ordered), width),
        counts=np.array([cells[cell] for cell in ordered], np.int64),
        offset=float(means[-1]),
    )
