"""Correlations of the estimates, and of the random effects of a term."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.prediction.varcorr import varcorr


class Correlations(NamedTuple):
    """A correlation matrix.

    Attributes:
      of_what: "estimates", or the random effects of a term.
      names: (d) of its rows.
      values: (d, d); NaN where there is no standard error, or a variance is zero.
    """

    of_what: str
    names: tuple[str, ...]
    values: Floats


def correlations(fit: FittedModel, term: str | None = None) -> Correlations:
    """Correlate the estimates of all parameters with one another, or the coefficients of a random-effects term.

    Args:
      fit: a fitted model.
      term: name of a term of several columns, such as "Subject"; by default the estimates.
    Returns:
      The matrix.
    Raises:
      ModelError: if there is no such term, or it has one column.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"))
      >>> float(correlations(fit).values[0, 1].round(3))
      -0.138
    """
    if term is None:
        sds = np.sqrt(np.diag(fit.param_vcov))
        with np.errstate(invalid="ignore", divide="ignore"):
            return Correlations("estimates", fit.param_names, fit.param_vcov / np.outer(sds, sds))
    terms = fit.model.design.terms
    names = [block.name for block in terms]
    if term not in names:
        raise ModelError(
            f"the fit has no random-effects term {term!r}", hint=f"It has {', '.join(names)}."
        )
    found = varcorr(fit).terms[names.index(term)]
    if len(found.columns) == 1:
        several = [block.name for block in terms if len(block.columns) > 1]
        raise ModelError(
            f"the term {term!r} has one column, and nothing to correlate it with",
            hint=f"Terms of several columns: {', '.join(several)}."
            if several
            else "Leave `term` out for the correlations of the estimates.",
        )
    return Correlations(f"random effects of {term}", found.columns, found.corr)
