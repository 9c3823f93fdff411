"""The Laplace approximation by probes where a family's own parameter may end at its limit.

The same rules as in `limits`, with the errors of the probes allowed for.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from lmeformula.likelihood.laplace.iterative import IterativeLaplace
from lmeformula.likelihood.laplace.limits import (
    EQUAL,
    FAR,
    AtLimit,
    Climbed,
    held_model,
    limits_left,
    outwards,
    place_of,
)
from lmeformula.model.compile import Model

# Errors of the probes by which log-likelihoods may differ.
RARE = 4.0


def climb_iteratively(
    whole: Model, fit: Callable[[Model], IterativeLaplace]
) -> tuple[Model, IterativeLaplace, tuple[AtLimit, ...]]:
    """Maximise the approximation, limits of own parameters included.

    Args:
      whole: the model.
      fit: a model -> its maximum by probes; see `fit_iteratively`.
    Returns:
      model: without the own parameters that are at their limits.
      last: its maximum.
      at_limits: these, in order of their places.
    """
    model, last = whole, fit(whole)
    held: tuple[AtLimit, ...] = ()
    for one in limits_left(whole, ()):
        if last.interrupted or not _is_doubtful(model, last, one):
            continue
        near = tuple(sorted((*held, one), key=lambda other: other.place))
        simpler = held_model(whole, near)
        found = fit(simpler)
        errors = math.hypot(last.loglik_error, found.loglik_error)
        if found.interrupted or last.loglik > found.loglik + EQUAL + RARE * errors:
            continue
        if outwards(whole, Climbed(simpler, found.found, near), one)[2] > EQUAL:
            continue
        model, last, held = simpler, found, near
    return model, last, held


def _is_doubtful(model: Model, last: IterativeLaplace, one: AtLimit) -> bool:
    """Whether the parameter is hardly told from its limit, or the ascent did not arrive."""
    if not last.found.converged:
        return True
    place = place_of(model.space, one)
    return not last.information[place, place] > FAR**2
