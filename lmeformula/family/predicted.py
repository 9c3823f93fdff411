"""Families with several linear predictors: own parameters that vary with the rows, each through a link.

A family's functions take own parameters elementwise. Those that have a predictor are given to them row by row,
at the inverse link of the predictor; the others stay as they are. So any family serves, as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from lmeformula.arrays import Floats, Tensor
from lmeformula.design.design import Design
from lmeformula.errors import ModelError
from lmeformula.family.own import scale_of
from lmeformula.family.own_links import link_of_own
from lmeformula.family.record import Arrays, Family, Predicted
from lmeformula.family.record import log_density as density_of
from lmeformula.family.series import Series
from lmeformula.formula.ir import FIRST
from lmeformula.startup import tf


def predicted_of(family: Family, name: str) -> Predicted:
    """The own parameter of that name, or of that other name, as a formula is given for it.

    Raises:
      ModelError: where the family has none; the message names those that it has.
    """
    for part in family.predicted:
        if name == part.name or name in part.aliases:
            return part
    named = [
        part.name + (f" (or {', '.join(part.aliases)})" if part.aliases else "")
        for part in family.predicted
    ]
    raise ModelError(
        f"the {family.name} family has no parameter {name!r} that a formula could be given for",
        hint=f"Parameters of {family.name} with a formula: mu, {', '.join(named)}."
        if named
        else _hint_of_one(family, name),
    )


def _hint_of_one(family: Family, name: str) -> str:
    if family.expand is not None:
        return "Write one formula: it gives the columns of all predictors."
    if name in family.own_names:
        return (
            "That takes three derivatives of the log density in it, and bounds that its bijector tends to: "
            f"give them, as in parameters={{{name!r}: (0, np.inf)}}."
        )
    return f"Write one formula, for mu: {family.name} has no parameter with another."


# A study that makes a family for each of many data sets would keep them forever.
@functools.lru_cache(maxsize=256)
def with_predictors(family: Family, names: tuple[str, ...]) -> Family:
    """The family with a linear predictor for each of the named own parameters, besides that of its mean.

    Args:
      family: a family with one predictor.
      names: of own parameters, as `Family.predicted` has them.
    Returns:
      The family. Its functions take predictors (K, n) in NumPy, (K, n, c) in `log_density` and (..., K, n) in
      `distribution`; `within` gives the family with one predictor, and what its functions take.
    """
    if not names:
        return family
    if family.grow is not None:
        return family.grow(names)  # type: ignore[no-any-return]
    parts = tuple(predicted_of(family, name) for name in names)
    places = {part.place: number for number, part in enumerate(parts, 1) if part.place is not None}
    # Of a user's family, whose record has them.
    kept = tuple(place for place in range(len(family.own_names)) if place not in places)

    def within(etas: Sequence[Any], own: Any, way: str = "inverse") -> tuple[Any, list[Any]]:
        inverses = [getattr(link_of_own(part), way) for part in parts]
        rest = iter(own if len(own) else ())
        values: list[Any] = []
        for place in range(len(own) + len(places)):
            if place not in places:
                values.append(next(rest))
                continue
            values.append(inverses[places[place] - 1](etas[places[place]]))
        eta = etas[0]
        for number, part in enumerate(parts, 1):
            if part.place is None:
                # The latent scale: thresholds and predictor are multiplied by its inverse.
                factor = inverses[number - 1](etas[number])
                eta, values = eta * factor, [value * factor for value in values]
        return eta, values

    def log_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
        inner, values = within([eta[k] for k in range(len(parts) + 1)], own, "tensor")
        return density_of(family, inner, response, tuple(values))

    def series(etas: Sequence[Series], response: Arrays, own: Sequence[Series]) -> Series:
        assert family.series is not None
        inner, values = within(etas, own, "series")
        return family.series(inner, response, values)

    def distribution(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Any:
        inner, values = within(tf.unstack(eta, axis=-2), own, "tensor")
        return family.distribution(inner, response, tuple(values))

    def probabilities(eta: Floats, own: Floats) -> Floats:
        assert family.probabilities is not None
        inner, values = within(list(eta), own)
        return family.probabilities(inner, np.column_stack(values))

    def mean(eta: Floats, own: Floats) -> Floats:
        if family.probabilities is not None:
            chances = probabilities(eta, own)
            return np.asarray(chances @ np.arange(1.0, chances.shape[1] + 1.0))
        inner, values = within(list(eta), own)
        return np.asarray(family.mean(inner, values))  # type: ignore[arg-type]

    return family._replace(
        name=f"{family.name}[{', '.join(part.name for part in parts)}]",
        distribution=distribution,
        mean=mean,
        own=lambda design: family.own(design).without(tuple(places)),
        own_names=tuple(family.own_names[place] for place in kept),
        scale=None if family.scale is None else scale_of(family.scale, kept),
        variance=None,
        deviance=None,
        cdf=None,
        measure="",
        tfp=None,
        is_normal=False,
        predictor_variance=None,
        is_latent=False,
        overdispersion=None,
        log_density=log_density,
        slope=None,
        closed=None,
        series=None if family.series is None else series,
        probabilities=None if family.probabilities is None else probabilities,
        predicted=(),
        predictors=(FIRST, *(part.name for part in parts)),
        within=lambda eta, own: (family, *within(list(eta), own)),
        starts=lambda design: tuple(_start(family, part, design) for part in parts),
        grown_from=family,
    )


def _start(family: Family, part: Predicted, design: Design) -> float:
    """Where the predictor of an own parameter starts, for all rows alike."""
    if part.start is not None:
        return part.start(design)
    if part.place is None:
        return 0.0
    natural = family.own(design).start[part.place]
    return float(link_of_own(part).forward(np.asarray(natural)))
