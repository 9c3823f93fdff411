"""Families with several linear predictors: own parameters that vary with the rows, each through a link.

A family's functions take own parameters elementwise. Those that have a predictor are given to them row by row,
at the inverse link of the predictor; the others stay as they are. So any family serves, as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.special
from numpy.typing import NDArray

from lmeformula.design.design import Design
from lmeformula.errors import ModelError
from lmeformula.model.family.bounded import Bounded
from lmeformula.model.family.own import NO_OWN, Own
from lmeformula.model.family.record import Arrays, Family, Predicted
from lmeformula.model.family.record import log_density as density_of

Floats = NDArray[np.float64]
Tensor = Any

# Beyond this logit a chance is not told from one, as where it is one number for all rows.
HIGHEST_LOGIT = 30.0


class PredictorLink(NamedTuple):
    """A link of an own parameter.

    Attributes:
      forward: parameter -> predictor, in NumPy.
      inverse: predictor -> parameter, in NumPy.
      tensor: the same in TensorFlow.
    """

    forward: Callable[[Floats], Floats]
    inverse: Callable[[Floats], Floats]
    tensor: Callable[[Tensor], Tensor]


def _exp(eta: Tensor) -> Tensor:
    import tensorflow as tf

    return tf.exp(eta)


def _above_one(eta: Tensor) -> Tensor:
    import tensorflow as tf

    return 1.0 + tf.exp(eta)


def _chance(eta: Tensor) -> Tensor:
    import tensorflow as tf

    return tf.math.sigmoid(tf.minimum(eta, tf.cast(HIGHEST_LOGIT, eta.dtype)))


LINKS_OF_OWN = {
    "log": PredictorLink(np.log, np.exp, _exp),
    "log(. - 1)": PredictorLink(
        lambda value: np.log(value - 1.0), lambda eta: 1.0 + np.exp(eta), _above_one
    ),
    "logit": PredictorLink(
        scipy.special.logit,
        lambda eta: scipy.special.expit(np.minimum(eta, HIGHEST_LOGIT)),
        _chance,
    ),
}


def predicted_of(family: Family, name: str) -> Predicted:
    """The own parameter of that name, or of that other name, as a formula is given for it.

    Raises:
      ModelError: where the family has none; the message names those that it has.
    """
    for part in family.parts:
        if name == part.name or name in part.aliases:
            return part
    named = [
        part.name + (f" (or {', '.join(part.aliases)})" if part.aliases else "")
        for part in family.parts
    ]
    raise ModelError(
        f"the {family.name} family has no parameter {name!r} that a formula could be given for",
        hint=f"Parameters of {family.name} with a formula: mu, {', '.join(named)}."
        if named
        else "Write one formula: it gives the columns of all predictors.",
    )


@functools.cache
def with_predictors(family: Family, names: tuple[str, ...]) -> Family:
    """The family with a linear predictor for each of the named own parameters, besides that of its mean.

    Args:
      family: a family with one predictor.
      names: of own parameters, as `Family.parts` has them.
    Returns:
      The family. Its functions take predictors (K, n) in NumPy, (K, n, c) in `log_density` and (..., K, n) in
      `distribution`; `within` gives the family with one predictor, and what its functions take.
    """
    if family.grow is not None:
        return family.grow(names)  # type: ignore[no-any-return]
    parts = tuple(predicted_of(family, name) for name in names)
    places = {part.place: number for number, part in enumerate(parts, 1) if part.place is not None}

    def within(etas: Sequence[Any], own: Any, *, tensors: bool) -> tuple[Any, list[Any]]:
        rest = iter(own if len(own) else ())
        values: list[Any] = []
        for place in range(len(own) + len(places)):
            if place not in places:
                values.append(next(rest))
                continue
            link = LINKS_OF_OWN[parts[places[place] - 1].link]
            values.append((link.tensor if tensors else link.inverse)(etas[places[place]]))
        eta = etas[0]
        for number, part in enumerate(parts, 1):
            if part.place is None:
                # The latent scale: thresholds and predictor are multiplied by its inverse.
                link = LINKS_OF_OWN[part.link]
                factor = (link.tensor if tensors else link.inverse)(etas[number])
                eta, values = eta * factor, [value * factor for value in values]
        return eta, values

    def log_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
        inner, values = within([eta[k] for k in range(len(parts) + 1)], own, tensors=True)
        return density_of(family, inner, response, tuple(values))

    def distribution(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Any:
        import tensorflow as tf

        inner, values = within(tf.unstack(eta, axis=-2), own, tensors=True)
        return family.distribution(inner, response, tuple(values))

    def probabilities(eta: Floats, own: Floats) -> Floats:
        assert family.probabilities is not None
        inner, values = within(list(eta), own, tensors=False)
        return family.probabilities(inner, np.column_stack(values))

    def mean(eta: Floats, own: Floats) -> Floats:
        if family.probabilities is not None:
            chances = probabilities(eta, own)
            return np.asarray(chances @ np.arange(1.0, chances.shape[1] + 1.0))
        inner, values = within(list(eta), own, tensors=False)
        return np.asarray(family.mean(inner, values))  # type: ignore[arg-type]

    return family._replace(
        name=f"{family.name}[{', '.join(part.name for part in parts)}]",
        distribution=distribution,
        mean=mean,
        own=lambda design: _rest_of(family.own(design), tuple(places)),
        variance=None,
        deviance=None,
        measure="",
        tfp=None,
        is_normal=False,
        predictor_variance=None,
        is_latent=False,
        overdispersion=None,
        has_sigma=False,
        log_density=log_density,
        slope=None,
        closed=None,
        probabilities=None if family.probabilities is None else probabilities,
        parts=(),
        predictors=("mu", *(part.name for part in parts)),
        within=lambda eta, own: (family, *within(list(eta), own, tensors=False)),
        starts=lambda design: tuple(_start(family, part, design) for part in parts),
        base=family,
    )


def _rest_of(own: Own, places: tuple[int, ...]) -> Own:
    """The own parameters but for those in some places."""
    if not places:
        return own
    kept = [place for place in range(own.size) if place not in places]
    if not kept:
        return NO_OWN
    names = tuple(own.names[place] for place in kept)
    scale = own.scale
    if isinstance(scale, Bounded):
        scale = Bounded(tuple(scale.bounds[place] for place in kept))
    return Own("_and_".join(names), names, own.start[kept], scale)


def _start(family: Family, part: Predicted, design: Design) -> float:
    """Where the predictor of an own parameter starts, for all rows alike."""
    if part.start is not None:
        return part.start(design)
    if part.place is None:
        return 0.0
    natural = family.own(design).start[part.place]
    return float(LINKS_OF_OWN[part.link].forward(np.asarray(natural)))
