"""Responses of ordered categories: their numbers and names, and what is said of others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.design.design import Design, ResponseBlock
from lmeformula.family.checks import refuse_weights, refused, response_of, unsuitable
from lmeformula.family.record import Arrays

# Each has a threshold or coefficients of its own, and the information is a square of as many.
MOST_CATEGORIES = 1000
# Lacking categories that a message names.
SHOWN = 8


def ordered_response(family: str) -> Callable[[Design], Arrays]:
    """The response of an ordinal family: the category of each row, from 0, and its indicators (n, K)."""

    def response(design: Design) -> Arrays:
        codes, levels = categories(design, family)
        refuse_weights(design, family)
        return codes.astype(np.float64), indicators(design, codes, len(levels))

    return response


def indicators(design: Design, codes: Ints, num_categories: int) -> Floats:
    """Which category each row has, as (n, K) zeros and ones.

    Args:
      design: of the rows, for the message.
      codes: (n,) the categories, from 0.
      num_categories: K.
    Raises:
      ModelError: for more categories than a model can have.
    """
    if num_categories > MOST_CATEGORIES:
        raise refused(
            design,
            f"the response {response_of(design).name!r} has {num_categories:,} categories, and "
            f"{MOST_CATEGORIES:,} is the most that there can be",
            "Each has parameters of its own. Put categories together, as cut(y, 10) does, or take the "
            "response as a number, with another family.",
        )
    found = np.zeros((len(codes), num_categories))
    found[np.arange(len(codes)), codes] = 1.0
    return found


def categories(design: Design, family: str = "ordinal") -> tuple[Ints, tuple[str, ...]]:
    """The category (n,) of each row, from 0, and the categories' names in order.

    Args:
      design: the design.
      family: which asks, for messages.
    Raises:
      ModelError: if the response has no order, fewer than two categories, or numbers other than 1 to K.
    """
    response = response_of(design)
    if response.kind == "numeric" and response.values.ndim == 1 and response.trials is None:
        return _numbered(design, response.values, family)
    if response.kind != "ordered" and not _is_numbered(response):
        raise unsuitable(
            design,
            family,
            "ordered categories, or whole numbers from 1",
            "Make the column an ordered categorical: pandas.Categorical(column, categories=[lowest, ..., "
            "highest], ordered=True)."
            if response.kind == "categorical"
            else 'For yes and no use family="bernoulli".',
        )
    return category_numbers(response).astype(np.int64) - 1, category_names(design)


def category_names(design: Design) -> tuple[str, ...]:
    """The categories' names in order; of levels they are known without the rows."""
    response = response_of(design)
    if response.kind == "ordered":
        return response.levels
    return tuple(sorted(response.levels, key=int)) if response.levels else categories(design)[1]


def category_numbers(response: ResponseBlock) -> Floats:
    """(n,) the number of each row's category, from 1 for the lowest; of a response that has some."""
    if response.kind == "categorical":
        # Whole numbers have their order, whatever order text has.
        order = sorted(range(len(response.levels)), key=lambda code: int(response.levels[code]))
        return np.asarray(1.0 + np.argsort(order)[response.values.astype(np.int64)], np.float64)
    first = 1.0 if response.kind == "ordered" else 0.0
    return np.asarray(response.values + first, np.float64)


def _is_numbered(response: ResponseBlock) -> bool:
    return response.kind == "categorical" and all(
        level.strip().isdecimal() for level in response.levels
    )


def _numbered(design: Design, values: Floats, family: str) -> tuple[Ints, tuple[str, ...]]:
    needs = "ordered categories, or whole numbers from 1"
    if (values != np.round(values)).any() or values.min() < 1:
        raise unsuitable(
            design,
            family,
            needs,
            "Make an ordered categorical of its values, or recode them as 1, 2, ..., K.",
        )
    found = np.unique(values)
    if found[-1] > len(found):
        # The first that are lacking are among the first few numbers, however large the largest one is.
        first = np.arange(1.0, min(found[-1], len(found) + SHOWN + 1.0) + 1.0)
        lacking = np.setdiff1d(first, found)
        shown = ", ".join(f"{number:.0f}" for number in lacking[:SHOWN])
        raise refused(
            design,
            f"the response {response_of(design).name!r} goes up to {found[-1]:.15g}, and no row has the "
            f"category {shown}{', ...' if lacking.size > SHOWN else ''}",
            "A category without rows has no threshold: recode as 1, 2, ..., K, or make an ordered "
            "categorical of the values that occur, with ordered(...) in the formula.",
        )
    return values.astype(np.int64) - 1, tuple(f"{number:.0f}" for number in found)
