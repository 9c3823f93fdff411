"""Result stage: what a fit would predict of each row had it not seen that row, without refitting."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.result.equations import equations, has_equations
from lmeformula.result.predict import family_values, linear_predictor
from lmeformula.result.several import need_one_predictor

if TYPE_CHECKING:
    from lmeformula.fit import Fit

Floats = NDArray[np.float64]

# The least share of a predictor's precision that the other rows are left with.
LEAST_SHARE = 1e-8


class LeftOut(NamedTuple):
    """Linear predictors of the rows, each given all rows but itself.

    Attributes:
      eta: (n,) means.
      variances: (n,) of fixed and random effects together.
    """

    eta: Floats
    variances: Floats


def leave_one_out(fit: Fit) -> LeftOut:
    """Take each row's own contribution out of the distribution of its linear predictor.

    The predictor of a row is normal given the data (approximately so for other families than the Gaussian),
    and so is the row's likelihood near it: the quotient of the two is what the other rows say. Variances
    and other parameters stay at the estimates of all rows.

    Args:
      fit: a fitted model with its rows.
    Returns:
      Means and variances; exact for Gaussian models.
    Raises:
      ModelError: for a model whose equations are too large to be factored.
    References:
      Vehtari, Mononen, Tolvanen, Sivula, Winther (2016), Bayesian leave-one-out cross-validation
      approximations for Gaussian latent variable models, J. Mach. Learn. Res. 17(103), 1-38, section 3.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
      >>> found, seen = leave_one_out(fit), fit.fitted()
      >>> y = fit.model.design.y
      >>> bool((abs(y - found.eta) > abs(y - seen)).all())
      True
    """
    need_one_predictor(fit, "leave-one-out predictions", 'Look at fit.residuals("quantile").')
    design = fit.model.design
    eta = linear_predictor(fit, design)
    with one_blas_thread():
        variances = equations(fit).variances(
            design, parameters=True, effects=True, new_levels=False
        )
    first, second = _slopes(fit, eta)
    left = np.maximum(1.0 + variances * second, LEAST_SHARE)
    return LeftOut(eta - variances * first / left, variances / left)


def has_leave_one_out(fit: Fit) -> bool:
    """Whether `leave_one_out` has an answer for this model."""
    return has_equations(fit) and not fit.model.family.predictors


def _slopes(fit: Fit, eta: Floats) -> tuple[Floats, Floats]:
    """(n,) first and second derivatives of the rows' log density."""
    family, own = fit.model.family, family_values(fit)
    response = family.response(fit.model.design)
    if family.name == "gaussian":
        precision = response[1] / own[0] ** 2
        return precision * (response[0] - eta), -precision
    from lmeformula.laplace.rows import automatic  # may start TensorFlow

    form = automatic(family, response) if family.closed is None else family.closed
    rows = form.slopes(eta, response, own)
    return rows.first, rows.second
