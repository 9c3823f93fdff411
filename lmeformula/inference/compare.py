"""Fits side by side by their information criteria, nested or not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.errors import ModelError
from lmeformula.fit import OF_LOO, FittedModel, check_not_drawn
from lmeformula.formula.difference import difference
from lmeformula.history import error_of_difference
from lmeformula.inference.anova import CRITERIA, alone
from lmeformula.inference.comparable import A_FIT, check_criteria


@kinds.takes(fits=kinds.instance(FittedModel, A_FIT), by=kinds.one_of("AIC", "BIC"))
def compare(*fits: FittedModel, by: str = "AIC") -> pd.DataFrame:
    """Put fits in the order of an information criterion; neither has to be a special case of another.

    Args:
      fits: two or more, of the same rows and responses, by one kind of likelihood.
      by: "AIC" or "BIC".
    Returns:
      frame: a row for each fit, the best one first: formula, family, npar, logLik, mc_error (of logLik),
        AIC, BIC; delta, what its criterion has more than the best one's, and delta_mc_error, the Monte
        Carlo error of that; weight, the share of exp(-delta / 2) in their sum; and change, the terms that its
        formula adds to that of the best one and leaves out, "+ x - (1 | g)".
    Raises:
      ModelError: for fits whose likelihoods cannot be compared: other rows, responses or weights, densities
        of other numbers, or restricted likelihoods of different fixed effects.
    References:
      Burnham, Anderson (2002), Model Selection and Multimodel Inference, 2nd ed., sections 2.2 and 2.9.
      Springer.
    Example:
      >>> import lmeformula as lf
      >>> data = lf.datasets.load("sleepstudy")
      >>> fits = [lf.fit(f"Reaction ~ Days + {term}", data) for term in ("(1 | Subject)", "(Days | Subject)")]
      >>> compare(*fits)[["formula", "npar", "delta"]].round(2)
                                   formula  npar  delta
      0  Reaction ~ Days + (Days | Subject)     6   0.00
      1     Reaction ~ Days + (1 | Subject)     4  38.14
    """
    if len(fits) < 2:
        raise ModelError(
            "a comparison takes two fits or more", hint="Write lf.compare(one, another)."
        )
    for fit in fits:
        check_not_drawn(fit, "AIC and BIC", OF_LOO)
    for one, other in pairwise(fits):
        check_criteria(one, other)
    frame = pd.DataFrame([alone(fit) for fit in fits]).rename(columns=CRITERIA)
    frame["family"] = [fit.model.family.written for fit in fits]
    frame = frame[["formula", "family", "npar", "logLik", "mc_error", "AIC", "BIC"]]
    frame = frame.sort_values(by, kind="stable")
    order, frame = list(frame.index), frame.reset_index(drop=True)
    delta = (frame[by] - frame[by].iloc[0]).to_numpy()
    logliks = [fits[place].loglik for place in order]
    errors = [0.0, *(2.0 * error_of_difference(logliks[0], other) for other in logliks[1:])]
    weight = np.exp(-0.5 * delta)
    changes = [difference(fits[order[0]].formula, fits[place].formula) for place in order]
    return frame.assign(
        delta=delta, delta_mc_error=errors, weight=weight / weight.sum(), change=changes
    )
