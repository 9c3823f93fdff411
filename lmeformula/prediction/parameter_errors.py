"""How errors of the estimates move linear predictors: all of them, by one covariance."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.fit import FittedModel
from lmeformula.prediction.freedom import combined


def own_is_apart(fit: FittedModel) -> bool:
    """Whether the own parameters take no part in errors of predictors: sigma of normal rows, or none at all."""
    return fit.model.family.is_normal or fit.model.space.own.size == 0


def parameter_covariance(fit: FittedModel, *, variances_known: bool = False) -> Floats:
    """(p + f, p + f) covariance of the fixed effects and of the family's own parameters, unconstrained.

    Own parameters that ended at a boundary are taken as known: they contribute nothing. For normal rows, whose
    mean does not depend on sigma, it is that of the fixed effects.

    Args:
      fit: a fitted model.
      variances_known: for given variances and correlations of the effects, rather than with their errors,
        which those of a model without normal rows covary with.
    """
    if fit.model.family.is_normal or (own_is_apart(fit) and not variances_known):
        return fit.fixed_vcov
    space = fit.model.space
    p, own = space.num_fixed, space.own
    places = np.r_[np.arange(p), np.arange(space.own_slice.start, space.own_slice.stop)]
    covariance = np.array(fit.param_vcov[np.ix_(places, places)])
    covariance[:p, :p] = fit.fixed_vcov
    if variances_known:
        covariance -= _explained(fit.param_vcov, places)
    free = own.scale.to_free(fit.params.own)
    with np.errstate(all="ignore"):
        jacobian = own.report_jacobian(free)
    known = np.isfinite(np.diag(covariance)[p:]) & np.isfinite(free)
    inside = np.flatnonzero(known)
    change = np.zeros((p + own.size, p + own.size))
    change[:p, :p] = np.eye(p)
    change[np.ix_(p + inside, p + inside)] = np.linalg.inv(jacobian[np.ix_(inside, inside)])
    held = p + np.flatnonzero(~known)
    covariance[held], covariance[:, held] = 0.0, 0.0
    return combined(change, covariance)


def _explained(covariance: Floats, places: Ints) -> Floats:
    """What of the covariance of parameters at places is due to the errors of all others."""
    others = np.setdiff1d(np.flatnonzero(np.isfinite(np.diag(covariance))), places)
    across = np.nan_to_num(covariance[np.ix_(places, others)])
    inner = covariance[np.ix_(others, others)]
    return np.asarray(across @ np.linalg.pinv(inner, hermitian=True) @ across.T)


def own_changes(fit: FittedModel, step: float) -> tuple[tuple[Floats, Floats], ...]:
    """Own parameters on their natural scale, ahead of and behind the estimates, for each unconstrained one.

    A parameter at infinity, which is that of a boundary, stays where it is.
    """
    if own_is_apart(fit):
        return ()
    scale = fit.model.space.own.scale
    free = np.asarray(scale.to_free(fit.params.own), float)
    found = []
    for place in range(len(free)):
        moved = np.zeros(len(free))
        moved[place] = step if np.isfinite(free[place]) else 0.0
        found.append((scale.to_natural(free + moved), scale.to_natural(free - moved)))
    return tuple(found)


def location_covariance(fit: FittedModel) -> Floats:
    """(p + 1, p + 1) covariance of the fixed effects and of the mean of the thresholds.

    A predictor of ordered categories has its origin where the thresholds have it: only its distance from them
    means anything, and the errors of that do not depend on where covariates have their zero.
    """
    p, own = fit.model.space.num_fixed, fit.model.space.own
    change = np.zeros((p + 1, p + own.size))
    change[:p, :p] = np.eye(p)
    change[p, p:] = location_slopes(fit)
    return combined(change, parameter_covariance(fit))


def has_thresholds(fit: FittedModel) -> bool:
    """Whether the predictor, or the first of several, is measured from thresholds."""
    return bool(fit.model.family.thresholds)


def location_slopes(fit: FittedModel) -> Floats:
    """(f,) derivatives of the mean of the thresholds in the unconstrained own parameters."""
    scale = fit.model.space.own.scale
    return np.asarray(scale.jacobian(scale.to_free(fit.params.own)).mean(axis=0))


def has_location(fit: FittedModel) -> bool:
    """Whether the one predictor is measured from thresholds."""
    return has_thresholds(fit) and not fit.model.family.is_distributional
