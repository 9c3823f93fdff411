"""Weakly informative priors of what a user gives none: those of brms, but for flat ones of all coefficients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmeformula.model.compile import Model
from lmeformula.model.prior_places import Place, places_of
from lmeformula.model.priors import Assigned, Priors
from lmeformula.priors import prior

# The least scale of standard deviations, as in brms.
LEAST_SCALE = 2.5
# What own parameters have by where they lie.
OF_POSITIVE, OF_FREEDOM, OF_SHARE, OF_REAL = (
    "gamma(0.01, 0.01)",
    "gamma(2, 0.1)",
    "beta(1, 1)",
    "student(3, 0, 2.5)",
)


def with_defaults(model: Model) -> Model:
    """The same model with a prior of each standard deviation and each own parameter of the family.

    Standard deviations, sigma too, have a half of Student's t density of 3 degrees of freedom, of the scale of
    the response on the link's scale, 2.5 at least. Coefficients have a flat density, and so have correlations,
    over all correlation matrices. What the user gave a prior keeps it.

    Args:
      model: with the priors that were given.
    References:
      Buerkner (2017), J. Stat. Softw. 80(1), section 4, for the defaults of brms.
    """
    taken = {name for one in model.priors for name in one.names}
    whole = {term for one in model.priors.of("cov") for term in one.terms}
    scale = f"half_student(3, 0, {response_scale(model):g})"
    added = []
    for place in places_of(model.space):
        if (
            place.name in taken
            or (place.of == "sd" and place.term in whole)
            or place.of not in ("sd", "own")
        ):
            continue
        text = scale if place.of == "sd" or place.name == "sigma" else _of_own(place)
        added.append(
            Assigned(
                place.name,
                prior(text),
                place.of,
                (place.name,),
                (place.number,),
                (place.term,),
            )
        )
    keys = tuple(one.key for one in added)
    return replace(model, priors=Priors((*model.priors, *added), keys))


def _of_own(place: Place) -> str:
    if place.name == "df":
        return OF_FREEDOM
    return {"positive": OF_POSITIVE, "share": OF_SHARE}.get(place.support, OF_REAL)


def response_scale(model: Model) -> float:
    """The median absolute deviation of the response where the link is identity or log, 2.5 at least.

    Example:
      >>> import lmeformula as lf
      >>> model = lf.compile(lf.design("Reaction ~ Days + (1|Subject)", lf.datasets.load("sleepstudy")))
      >>> response_scale(model)
      59.3
    """
    family, design = model.family, model.design
    if family.link not in ("identity", "log") or family.categories is not None:
        return LEAST_SCALE
    values = np.asarray(family.response(design)[0], float)
    if family.link == "log":
        values = np.log(np.where(values <= 0.0, 0.1, values))
    spread = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    return max(LEAST_SCALE, round(spread, 1)) if np.isfinite(spread) else LEAST_SCALE
