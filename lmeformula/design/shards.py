"""A design's rows in parts: as one in memory, or with the workers of a cluster, a few levels of one term each.

Who needs rows asks for `shards_of` a design, and not where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.design.design import Design, TermBlock
from lmeformula.design.given import NOTHING
from lmeformula.design.select import select_rows
from lmeformula.rows.parts import Here, Part, Shards


def shards_of(design: Design) -> Shards:
    """The parts of a design's rows: one, where they are in memory."""
    if design.shards is not None:
        return design.shards
    lead = lead_of(design.terms)
    levels = len(design.terms[lead].levels) if design.terms else 0
    return Shards(Here(design), lead, (slice(0, levels),))


def lead_of(terms: Sequence[TermBlock]) -> int:
    """Place of the term with the most effects; 0 where there is none."""
    return int(np.argmax([len(term.levels) * len(term.columns) for term in terms] or [0]))


def triangle_of(design: Design, term: int) -> Floats:
    """(k, k) R of the columns (n, k) = Q R of a term, wherever the rows are; its diagonal is not negative.

    Args:
      design: with at least as many rows as the term has columns.
      term: its place.
    """
    corners = shards_of(design).parts.ask(_corner, term)
    whole = corners[0]
    if len(corners) > 1:
        whole = np.linalg.qr(np.concatenate(corners), mode="r")
    return np.asarray(whole * np.where(np.diag(whole) < 0.0, -1.0, 1.0)[:, None])


def _corner(part: Part, term: int) -> Floats:
    return np.asarray(np.linalg.qr(part.rows.terms[term].values, mode="r"))


def mean_squares(design: Design, term: int | None = None) -> Floats:
    """(p,) means of the squares of the fixed columns over the observations, wherever the rows are.

    Args:
      design: the design.
      term: place of a random-effects term, for (k,) of its columns instead.
    """
    found = shards_of(design).parts.ask(_mean_squares, term)
    if len(found) == 1:
        return np.asarray(found[0][0])
    means, counts = (np.array(each) for each in zip(*found, strict=True))
    return np.asarray(counts @ means / counts.sum())


def mean_products(design: Design, term: int) -> Floats:
    """(k, k) mean products of a term's columns over the observations, wherever the rows are."""
    found = shards_of(design).parts.ask(_products, term)
    total = found[0]
    for each in found[1:]:
        total = total + each
    return np.asarray(total / design.num_observations)


def _mean_squares(part: Part, term: int | None) -> tuple[Floats, int]:
    design: Design = part.rows
    count, columns = (
        design.num_observations,
        design.X if term is None else design.terms[term].values,
    )
    return design.mean(columns**2) if count else np.zeros(columns.shape[1]), count


def _products(part: Part, term: int) -> Floats:
    values, frequency = part.rows.terms[term].values, part.rows.frequency
    left = values.T if frequency is None else values.T * frequency
    return np.asarray(left @ values)


def cut_levels(counts: Ints, most: int) -> tuple[slice, ...]:
    """Levels in runs with about as many rows each.

    Args:
      counts: (l,) rows of each level.
      most: how many runs, where there are as many levels.
    Example:
      >>> cut_levels(np.array([4, 1, 1, 2]), 2)
      (slice(0, 1, None), slice(1, 4, None))
    """
    count = min(most, len(counts))
    before = np.concatenate([[0], np.cumsum(counts)])
    cuts = [0]
    for number in range(1, count):
        cut = int(np.searchsorted(before, before[-1] * number / count))
        # Each run has a level.
        cuts.append(min(max(cut, cuts[-1] + 1), len(counts) - (count - number)))
    return tuple(slice(a, b) for a, b in zip(cuts, [*cuts[1:], len(counts)], strict=True))


def part_of(design: Design, lead: int, levels: slice) -> Design:
    """The rows of some levels of the lead term, whose other levels are left out."""
    term = design.terms[lead]
    places = np.flatnonzero((term.index >= levels.start) & (term.index < levels.stop))
    return of_levels(select_rows(design, places), lead, levels)


def of_levels(design: Design, lead: int, levels: slice) -> Design:
    """A design all of whose rows are of these levels of the lead term, without what it needs for new rows."""
    term = design.terms[lead]
    own = replace(
        term,
        levels=term.levels[levels],
        index=(term.index - levels.start).astype(np.int32),
    )
    terms = (*design.terms[:lead], own, *design.terms[lead + 1 :])
    return replace(design, terms=terms, recipe=None, given=NOTHING, shards=None)
