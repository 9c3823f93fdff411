"""Rough parameters to start from: least squares, and half of its residual sd spread over the terms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmeformula.design.design import Design
from lmeformula.model.params import Params, ParamSpace


def starting_values(
    design: Design, space: ParamSpace, working: NDArray[np.float64] | None = None
) -> Params:
    """Starting values of a model.

    Args:
      design: the design; the response is (n,).
      space: the parameter space of the model.
      working: (n,) responses on the scale of the linear predictor; by default the responses themselves.
    Returns:
      Least squares for the fixed effects; for each term standard deviations that give its predictor, together
      with the other terms, half the residual sd, uncorrelated; most of the residual sd for sigma.
    """
    working = design.y if working is None else working
    assert working is not None
    root = np.ones(design.n) if design.weights is None else np.sqrt(design.weights)
    target = (working - design.offset) * root
    beta = np.asarray(np.linalg.lstsq(design.X * root[:, None], target, rcond=None)[0], float)
    residual = target - design.X @ beta * root
    sd = float(np.sqrt(residual @ residual / max(design.n - len(beta), 1)))
    covariances = []
    for term in design.terms:
        scale = np.sqrt(np.mean(term.values**2, axis=0))
        share = 0.5 * sd / np.sqrt(len(term.columns) * len(design.terms))
        covariances.append(np.diag((share / np.maximum(scale, 1e-12)) ** 2))
    sigma = (space.fixed_sigma or 0.85 * sd) if space.has_sigma else None
    return Params(beta, tuple(covariances), sigma)
