"""Derivatives of very many rows, some thousand at a time.

What is made on the way to them then stays in a processor's cache, where arrays of all rows, a dozen of them for
a logit, would be written to memory and read again, and count for the most memory that a fit takes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.family import ClosedForm, Depths, Slopes

# Rows of a block.
AT_ONCE = 16_384


def in_blocks(form: ClosedForm) -> ClosedForm:
    """The same derivatives of rows with one linear predictor, a block of rows after the other.

    Example:
      >>> import numpy as np
      >>> from lmeformula.family.built_in import family
      >>> form = family("bernoulli").closed
      >>> eta, one = np.linspace(-3.0, 3.0, 40_000), np.ones(40_000)
      >>> whole, parts = (each.slopes(eta, (one, one, one), one[:0]) for each in (form, in_blocks(form)))
      >>> all((a == b).all() for a, b in zip(whole, parts, strict=True))
      True
    """

    def slopes(eta: Floats, response: tuple[Floats, ...], own: Floats) -> Slopes:
        if _are_few(eta, response):
            return form.slopes(eta, response, own)
        # Arrays of their own: who is done with one lets go of it.
        found = Slopes(*(np.empty_like(eta) for _ in Slopes._fields))
        for rows in _blocks(len(eta)):
            part = form.slopes(eta[rows], tuple(part[rows] for part in response), own)
            for whole, some in zip(found, part, strict=True):
                whole[rows] = some
        return found

    def depths(eta: Floats, response: tuple[Floats, ...], own: Floats) -> Depths:
        # Sums over rows of derivatives in own parameters are made of all of them.
        if len(own) or _are_few(eta, response):
            return form.depths(eta, response, own)
        third = np.empty_like(eta)
        for rows in _blocks(len(eta)):
            part = form.depths(eta[rows], tuple(part[rows] for part in response), own)
            third[rows] = part.third
        return Depths.of_predictor(third)

    return form._replace(slopes=slopes, depths=depths)


def _are_few(eta: Floats, response: tuple[Floats, ...]) -> bool:
    """Whether one block holds them, or not all arrays have a row for each."""
    return len(eta) <= AT_ONCE or any(len(part) != len(eta) for part in response)


def _blocks(num_rows: int) -> Iterator[slice]:
    for start in range(0, num_rows, AT_ONCE):
        yield slice(start, min(start + AT_ONCE, num_rows))
