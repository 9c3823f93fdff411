"""Some rows of a design, wherever all of them are: enough to start a fit from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lmeformula.design.absent import has_rows
from lmeformula.design.design import Design
from lmeformula.design.given import NOTHING
from lmeformula.design.select import select_rows, stacked_terms
from lmeformula.rows.parts import Part

# Rows that are read where all rows are with workers; of fewer, all are.
MOST_ROWS = 200_000


def outline(design: Design) -> Design:
    """The design itself, where its rows are here; else one of some of its rows, at even distances.

    Args:
      design: with its rows, here or with workers.
    Returns:
      The design of these rows, which are as far as they go as all are: what is worked out from them is rough.
    """
    shards = design.shards
    if has_rows(design) or shards is None:
        return design
    if "outline" not in shards.held:
        share = min(1.0, MOST_ROWS / max(design.n, 1))
        starts = [place.start for place in shards.places]
        some: list[Design] = shards.parts.ask(_some, share, shards.lead, each=[starts])
        shards.held["outline"] = _together(design, some)
    found: Design = shards.held["outline"]
    return found


def _some(part: Part, share: float, lead: int, start: int) -> Design:
    """Some rows of a part, with the numbers that their levels of the lead term have among all."""
    design: Design = part.rows
    count, response = round(share * design.n), design.response
    places = np.linspace(0, max(design.n - 1, 0), count).astype(np.int64)
    if response is not None and response.levels:
        # Rare categories are among them.
        places = np.union1d(places, np.unique(response.values, return_index=True)[1])
    some = select_rows(design, places)
    terms = tuple(
        replace(term, levels=(), index=term.index + start if j == lead else term.index)
        for j, term in enumerate(some.terms)
    )
    return replace(some, terms=terms, recipe=None, given=NOTHING, shards=None)


def _together(design: Design, some: list[Design]) -> Design:
    """The rows of all parts, as a design."""

    def joined(arrays: list[Any]) -> Any:
        return None if arrays[0] is None else np.concatenate(arrays)

    first, responses = some[0], [each.response for each in some]
    response = first.response
    if response is not None:
        blocks = [each for each in responses if each is not None]
        values = joined([each.values for each in blocks])
        response = replace(response, values=values, trials=joined([e.trials for e in blocks]))
    terms = stacked_terms(design.terms, [each.terms for each in some])
    X = joined([each.X for each in some])
    return replace(
        design,
        response=response,
        X=X,
        terms=terms,
        offsets=tuple(
            joined([each.offsets[k] for each in some]) for k in range(len(design.offsets))
        ),
        weights=joined([each.weights for each in some]),
        frequency=joined([each.frequency for each in some]),
        rows=np.arange(len(X)),
        recipe=None,
        given=NOTHING,
        shards=None,
    )
