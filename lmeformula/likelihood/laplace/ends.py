"""Where an ascent of the approximation ends: at faces, at the limits of own parameters, where it is none."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.outline import outline
from lmeformula.likelihood.laplace.likelihood import Approximation, Mode, Problem, find_mode
from lmeformula.likelihood.laplace.row_sums import At
from lmeformula.model.compile import Model

# The approximation is none, and is not climbed, where an effect has less than this share of its prior's
# curvature.
NO_CURVATURE = 1e-2
# An own parameter of the family goes no further beyond a stand-in for its limit, unconstrained.
BEYOND = 10.0


def own_ends(model: Model) -> tuple[Floats, Floats]:
    """(f,) unconstrained own parameters of the family between which densities have digits.

    Beyond a value that no likelihood tells from the limit there is nothing but rounding.
    """
    own = model.space.own
    lowest, highest = np.full(own.size, -np.inf), np.full(own.size, np.inf)
    limits = [limit for limit in model.family.base.limits if limit.name in own.names]
    response = model.family.response(outline(model.design)) if limits else ()
    for limit in limits:
        natural, place = np.array(own.start, float), own.names.index(limit.name)
        natural[own.natural_names.index(limit.name)] = limit.stand_in(response)
        end = float(own.scale.to_free(natural)[place])
        if limit.is_upwards:
            highest[place] = end + BEYOND
        else:
            lowest[place] = end - BEYOND
    return lowest, highest


def curvature_of(mode: Mode) -> float:
    """The least share of its prior's curvature that an effect has at a mode; 1 where that is not worked out."""
    least = mode.factor.least_pivot
    return 1.0 if least is None or not (mode.weights < 0.0).any() else least


def on_faces(problem: Problem, at: At, beside: Approximation) -> Approximation:
    """The approximation at covariances that are singular, with its derivatives from next to there.

    A standard deviation that is kept off zero, beside a perfect correlation, costs the log-likelihood as much
    as its slope there, times its size: more than rounding.

    Args:
      problem: the arrays.
      at: the parameters; factors may be singular.
      beside: the approximation next to there.
    """
    try:
        mode = find_mode(problem, at, beside.mode.u)
    except np.linalg.LinAlgError:
        return beside
    value = mode.value + problem.marginal.added(problem, mode)
    return beside._replace(value=value, mode=mode) if np.isfinite(value) else beside
