"""By which method a fit's degrees of freedom are found."""

from __future__ import annotations

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.arguments import kinds
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.inference.kenward_roger import kenward_roger
from lmeformula.inference.satterthwaite import satterthwaite
from lmeformula.prediction.freedom import Asymptotic, Freedom
from lmeformula.prediction.posterior import refuse_student

METHODS = ("auto", "satterthwaite", "kenward-roger", "none")


@kinds.takes(ddf=kinds.one_of(*METHODS))
def freedom(fit: FittedModel, ddf: str = "auto") -> Freedom:
    """Choose how degrees of freedom of a fit's fixed effects are found.

    Args:
      fit: a fitted model.
      ddf: "satterthwaite" (Gaussian fits), "kenward-roger" (Gaussian REML fits), "none" for normal and
        chi-square distributions; "auto" is "satterthwaite" for Gaussian fits and "none" for the others.
    Returns:
      The method, at work on this fit.
    Raises:
      ModelError: if there is no such method, or it is not for such fits.
    """
    is_gaussian = fit.model.family.is_normal and fit.model.space.has_normal_priors
    if ddf == "none" or (ddf == "auto" and not is_gaussian):
        return Asymptotic(fit.fixed_vcov)
    refuse_student(fit, f"degrees of freedom by {ddf}")
    if not is_gaussian:
        raise ModelError(
            f"there are no {ddf} degrees of freedom of a {fit.model.family.name} fit",
            hint='Use ddf="none": z and chi-square tests.',
        )
    with one_blas_thread():
        return kenward_roger(fit) if ddf == "kenward-roger" else satterthwaite(fit)
