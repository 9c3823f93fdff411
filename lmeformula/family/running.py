"""Own parameters that run off, and the likelihood with them, where the data are known exactly.

Responses that are met exactly leave nothing for a shape or a scale to be estimated from; amounts that are all
alike leave nothing for a power. There the likelihood has no limit, and its density no digits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lmeformula.arrays import Floats
from lmeformula.family.record import Family
from lmeformula.family.runaway import Runaway


class Met(NamedTuple):
    """Responses that own parameters know exactly: a likelihood without a maximum.

    Attributes:
      name: of the own parameter that runs off.
      spread: what is left of the responses, relative to them.
      least: below which that is nothing.
      says: what is known, in words.
      is_met: whether it is that the model predicts the responses.
    """

    name: str
    spread: float
    least: float
    says: str
    is_met: bool


def met_exactly(family: Family, names: tuple[str, ...], response: Any, own: Floats) -> Met | None:
    """Whether responses are met to all digits that the density has: then its own parameter runs off.

    Args:
      family: the family.
      names: (v,) of its own parameters.
      response: its response arrays.
      own: (v,) natural values of the parameters.
    Example:
      >>> import numpy as np
      >>> from lmeformula.family import family
      >>> y = np.array([1.0, 2.0])
      >>> met_exactly(family("gamma"), ("shape",), (y,), np.array([1e15])).name
      'shape'
    """
    values = dict(zip(names, own, strict=True))
    for one in family.base.runaways:
        if one.name not in names:
            continue
        left = one.spread(response, values)
        if left < one.least:
            return Met(one.name, left, one.least, one.says, one.is_met)
    return None


def meets(family: Family) -> Runaway | None:
    """The own parameter that runs off where a family's responses are met exactly, if that is so."""
    kinds = family.base.runaways
    return next((one for one in kinds if one.is_met), None)
