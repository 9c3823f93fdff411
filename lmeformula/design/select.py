"""Some of a design's rows, as a design; of new rows, likewise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.design.design import Design, NewRows, TermBlock

SomeRows = TypeVar("SomeRows", bound=Design | NewRows)


def select_rows(design: SomeRows, places: Ints | slice) -> SomeRows:
    """Take some rows of a design; columns, levels and what it remembers of its data stay as they are.

    Args:
      design: a design with its rows, or new rows of one.
      places: (m,) positions among the design's rows, not among those of its data frame.
    Returns:
      The design of these rows. A level none of whose rows was taken keeps its place: its effects are not
      observed, and the likelihood of the rows is as if there were no such level.
    Example:
      >>> from lmeformula.design import design
      >>> made = design("y ~ 1 + (1 | g)", {"y": [1.0, 2.0, 4.0, 3.0], "g": ["a", "a", "b", "c"]})
      >>> some = select_rows(made, np.array([0, 3]))
      >>> some.y.tolist(), some.terms[0].levels, some.terms[0].index.tolist()
      ([1.0, 3.0], ('a', 'b', 'c'), [0, 2])
    """
    response = design.response
    if response is not None:
        trials = None if response.trials is None else response.trials[places]
        response = replace(response, values=response.values[places], trials=trials)
    some = replace(
        design,
        response=response,
        X=np.ascontiguousarray(design.X[places]),
        terms=tuple(some_rows(term, places) for term in design.terms),
        offsets=tuple(offset[places] for offset in design.offsets),
        weights=None if design.weights is None else design.weights[places],
        rows=design.rows[places],
    )
    if isinstance(some, Design):
        each = (replace(one, design=select_rows(one.design, places)) for one in some.side_by_side)
        frequency = None if some.frequency is None else some.frequency[places]
        some = replace(some, side_by_side=tuple(each), frequency=frequency)
    return some


def some_rows(term: TermBlock, places: Ints | slice) -> TermBlock:
    """A term with some of its rows."""
    shares = None if term.shares is None else term.shares[places]
    return replace(
        term,
        values=term.values[places],
        index=term.index[places],
        shares=shares,
    )


def stacked_terms(
    terms: tuple[TermBlock, ...], parts: Sequence[tuple[TermBlock, ...]]
) -> tuple[TermBlock, ...]:
    """Terms with the rows of several parts, one after the other."""
    return tuple(
        replace(
            term,
            values=np.concatenate([each[j].values for each in parts]),
            index=np.concatenate([each[j].index for each in parts]),
            shares=_stacked_shares([each[j] for each in parts]),
        )
        for j, term in enumerate(terms)
    )


def _stacked_shares(parts: Sequence[TermBlock]) -> Floats | None:
    shares = [part.shares for part in parts if part.shares is not None]
    return np.concatenate(shares) if shares else None
