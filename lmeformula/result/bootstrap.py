"""Result stage: intervals by the parametric bootstrap, refits to responses drawn from the fitted model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.errors import ModelError
from lmeformula.model.covariance import cholesky_semidefinite
from lmeformula.result.intervals import check_level, chosen, interval_frame
from lmeformula.result.parameters import parameters
from lmeformula.result.refit import refit

if TYPE_CHECKING:
    from lmeformula.fit import Fit

Floats = NDArray[np.float64]

FEWEST = 100


def bootstrap_intervals(
    fit: Fit,
    parm: Sequence[str] | str | None = None,
    level: float = 0.95,
    *,
    num_refits: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Intervals between quantiles of the estimates from responses that the fitted model draws.

    Effects and errors are drawn anew each time; the ends are the quantiles themselves (R's "perc").

    Args:
      fit: an exact fit.
      parm: parameter names, one or several; all by default.
      level: coverage.
      num_refits: how many responses to draw.
      seed: of the draws.
    Returns:
      frame: parameter, estimate, lower, upper, note.
    Raises:
      ModelError: for a fit that is not exact, too few refits, or a level or parameter that does not exist.
    References:
      Davison, Hinkley (1997), Bootstrap Methods and their Application, section 5.3.
    """
    check_level(level)
    places = chosen(fit, parm)
    if fit.method != "exact" or any(term.block for term in fit.model.design.terms):
        raise ModelError(
            f"no bootstrap of a {fit.model.family.name} model fitted by {fit.method}"
            + (" with linked terms" if fit.method == "exact" else ""),
            hint='It refits exact fits; use method="wald" or, for a fit by "laplace", "profile".',
        )
    if num_refits < FEWEST:
        raise ModelError(
            f"num_refits is {num_refits}", hint=f"Quantiles take at least {FEWEST} refits."
        )
    rng = np.random.default_rng(seed)
    with one_blas_thread():
        refits = [refit(fit, draw_response(fit, rng)) for _ in range(num_refits)]
    lost = sum(not one.converged for one in refits)
    values = np.array([one.param_values[places] for one in refits if one.converged])
    tail = 0.5 * (1.0 - level)
    lower, upper = np.nanquantile(values, [tail, 1.0 - tail], axis=0)
    note = f"{lost} of {num_refits} refits did not converge" if lost else ""
    rows = parameters(fit)
    ends = list(zip(map(float, lower), map(float, upper), strict=True))
    return interval_frame([rows[place] for place in places], ends, [note] * len(places))


def draw_response(fit: Fit, rng: np.random.Generator) -> Floats:
    """One response (n,) of a Gaussian model at its estimates.

    Args:
      fit: the fit.
      rng: where the draws come from.
    """
    design, params = fit.model.design, fit.params
    assert params.sigma is not None
    response = design.X @ params.beta + design.offset
    for term, covariance in zip(design.terms, params.covariances, strict=True):
        spherical = rng.standard_normal((len(term.levels), len(term.columns)))
        effects = spherical @ cholesky_semidefinite(covariance).T
        response += np.einsum("nk,nk->n", term.values, effects[term.index])
    errors = params.sigma * rng.standard_normal(design.n)
    return response + (errors if design.weights is None else errors / np.sqrt(design.weights))
