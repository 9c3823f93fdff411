"""A family whose rows stand for several observations each: log densities times frequencies."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from lmeformula.arrays import Tensor
from lmeformula.family.record import Arrays, Family
from lmeformula.family.record import log_density as density_of
from lmeformula.family.series import Series


# As of `with_predictors`: a study that makes families would keep them forever.
@functools.lru_cache(maxsize=256)
def counted(family: Family) -> Family:
    """The family whose response arrays end in frequencies (n,), by which log densities are multiplied.

    All derivatives follow: they are those of its series, or automatic. It is for likelihoods alone; what is
    said of a single response is said by the family itself.

    Args:
      family: of one response a row.
    """

    def log_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
        return response[-1][:, None] * density_of(family, eta, response[:-1], own)

    def series(eta: Any, response: Arrays, own: Sequence[Series]) -> Series:
        assert family.series is not None
        return family.series(eta, response[:-1], own) * response[-1]

    return family._replace(
        log_density=log_density,
        slope=None,
        closed=None,
        series=None if family.series is None else series,
    )
