"""Result stage: predictions averaged over the uncertainty of the linear predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.design.design import Design, NewRows
from lmeformula.result.equations import equations, fresh_variances
from lmeformula.result.heavy import refuse_heavy
from lmeformula.result.held_out import mean_over
from lmeformula.result.predict import PredictionKind, linear_predictor, only_terms
from lmeformula.result.scores import averaged_chances
from lmeformula.result.several import need_one_predictor

if TYPE_CHECKING:
    from lmeformula.fit import Fit

Floats = NDArray[np.float64]


def averaged_over(
    fit: Fit,
    kind: PredictionKind,
    rows: Design | NewRows,
    kept: tuple[bool, ...],
    *,
    uncertain: bool,
    new_levels: bool,
) -> Floats:
    """Average what is predicted over normal linear predictors.

    Args:
      fit: a fitted model.
      kind: "response" or "prob".
      rows: its rows, or new ones.
      kept: whether each random-effects term takes part.
      uncertain: whether fixed effects, and effects of known levels, are uncertain.
      new_levels: whether effects of unseen levels are drawn from their distribution.
    Returns:
      (n, 1) expected responses, or (n, K) chances.
    """
    need_one_predictor(
        fit, "averaged predictions", "Average fit.simulate(1000, newdata=...) over its columns."
    )
    used = only_terms(rows, kept)
    eta = linear_predictor(fit, used, with_random=any(kept))
    variances = np.zeros(len(eta))
    if uncertain:
        with one_blas_thread():
            variances = equations(fit).variances(
                used, parameters=True, effects=any(kept), new_levels=False
            )
    if new_levels and fit.model.family.link != "identity":
        refuse_heavy(fit, "averages over unseen levels")
        variances = variances + fresh_variances(used.terms, fit.params.covariances)
    if kind == "prob":
        return averaged_chances(fit, eta, variances)
    return mean_over(fit, eta, variances)[:, None]
