"""By which method a fit's degrees of freedom are found."""

from __future__ import annotations

from typing import NamedTuple

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.arguments import kinds
from lmeformula.design.absent import has_rows
from lmeformula.errors import ModelError
from lmeformula.estimation.solver import can_be_factored
from lmeformula.fit import FittedModel, check_maximum
from lmeformula.inference.kenward_roger import kenward_roger
from lmeformula.inference.satterthwaite import satterthwaite
from lmeformula.prediction.freedom import Asymptotic, Freedom
from lmeformula.prediction.posterior import refuse_student

METHODS = ("auto", "satterthwaite", "kenward-roger", "none")
# Of more effects or rows Satterthwaite's degrees of freedom take longer than a reader waits for a table.
MOST_EFFECTS, MOST_ROWS = 10_000, 500_000


class Usual(NamedTuple):
    """How degrees of freedom are found where nobody says how.

    Attributes:
      ddf: "satterthwaite" or "none".
      why: a sentence, where a Gaussian fit has none; else "".
    """

    ddf: str
    why: str = ""


def usual(fit: FittedModel) -> Usual:
    """What "auto" is for the tables of a fit: Satterthwaite's of Gaussian ones that have them in a moment.

    Args:
      fit: a fitted model.
    """
    space, design = fit.model.space, fit.model.design
    if not (fit.model.family.is_normal and space.has_normal_priors and fit.outcome.converged):
        return Usual("none")
    normal = "Tests by the normal distribution"
    if fit.has_priors:
        return Usual("none", f"{normal}, as of a posterior that is normal about its mode.")
    if space.has_known_scale:
        why = f"{normal}: a covariance is known beside a residual that is estimated."
    elif not can_be_factored(fit.model):
        why = f"{normal}: the model is too large for degrees of freedom."
    elif not has_rows(design):
        why = f"{normal}: degrees of freedom need the rows, which are not with the fit."
    elif design.n > MOST_ROWS or sum(modes.size for modes in fit.modes) > MOST_EFFECTS:
        why = f'{normal}: degrees of freedom take a while here, ddf="satterthwaite".'
    else:
        return Usual("satterthwaite")
    return Usual("none", why)


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
    has_none = fit.has_priors or not is_gaussian or fit.model.space.has_known_scale
    if ddf == "none" or (ddf == "auto" and has_none):
        return Asymptotic(fit.fixed_vcov)
    check_maximum(fit, f"{ddf}'s count of degrees of freedom")
    refuse_student(fit, f"degrees of freedom by {ddf}")
    if not is_gaussian:
        raise ModelError(
            f"there are no {ddf} degrees of freedom of a {fit.model.family.name} fit",
            hint='Use ddf="none": z and chi-square tests.',
        )
    if fit.model.space.has_known_scale:
        raise ModelError(
            f"there are no {ddf} degrees of freedom where a covariance is known, equalto(), beside a residual "
            "sd that is estimated",
            hint='Use ddf="none": z and chi-square tests.',
        )
    with one_blas_thread():
        return kenward_roger(fit) if ddf == "kenward-roger" else satterthwaite(fit)
