"""Rough parameters to start from: least squares, and half of its residual sd spread over the terms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.design import Design
from lmeformula.family import Family
from lmeformula.model.params import Params, ParamSpace, term_shape

# Standard deviation of what varies in further predictors, which are logarithms or logits.
FURTHER_SD = 0.3

# Of effects by a t distribution: heavy tails, and a variance.
FIRST_FREEDOM = 6.0


def starting_values(design: Design, space: ParamSpace, family: Family, working: Floats) -> Params:
    """Starting values of a model.

    Args:
      design: the design; the response is (n,).
      space: the parameter space of the model.
      family: its family. Thresholds that take the place of a fixed intercept are moved to the mean of the
        predictor.
      working: (n,) responses on the scale of the linear predictor.
    Returns:
      Least squares for the fixed effects; for each term standard deviations that give its predictor, together
      with the other terms, half the residual sd, uncorrelated; most of the residual sd for sigma; what the
      family says for other parameters of its own.
    """
    root = np.ones(design.n) if design.weights is None else np.sqrt(design.weights)
    columns = design.X if family.has_intercept else np.column_stack([design.X, np.ones(design.n)])
    target = (working - design.offset) * root
    coefficients = np.linalg.lstsq(columns * root[:, None], target, rcond=None)[0]
    residual = target - columns @ coefficients * root
    sd = float(np.sqrt(residual @ residual / max(design.n - len(coefficients), 1)))
    beta = np.asarray(coefficients[: design.X.shape[1]], float)
    covariances = []
    for term in design.terms:
        scale = np.sqrt(np.mean(term.values**2, axis=0))
        share = 0.5 * sd / np.sqrt(len(term.columns) * len(design.terms))
        covariances.append(np.diag((share / np.maximum(scale, 1e-12)) ** 2))
    own = space.own.start
    if family.is_normal and not space.own.is_held:
        own = np.array([0.85 * sd])
    if not family.has_intercept:
        own = own + np.mean(design.X @ beta + design.offset)
    freedom = tuple(FIRST_FREEDOM if term.prior.has_df else math.inf for term in design.terms)
    return Params(beta, tuple(covariances), own, () if space.has_normal_priors else freedom)


def starting_predictors(
    design: Design, space: ParamSpace, family: Family, working: Floats
) -> Params:
    """Starting values of a model with K linear predictors.

    Args:
      design, space: as of `starting_values`.
      family: its family, which says what each further predictor is to be for all rows.
      working: (n,) responses on the scale of the first predictor.
    Returns:
      For the first predictor what `starting_values` says; for the fixed effects of the others what comes
      nearest to a constant, and small standard deviations.
    """
    first = starting_values(design.first, _space_of_first(design, space), family, working)
    beta = [first.beta]
    for part, start in zip(design.predictors[1:], family.starts(design.first), strict=True):
        target = start - part.design.offset
        beta.append(np.asarray(np.linalg.lstsq(part.design.X, target, rcond=None)[0], float))
    # Terms of the first predictor alone have their place among its terms; linked ones have others' columns too.
    variances = {
        (term.name, column): variance
        for term, covariance in zip(design.first.terms, first.covariances, strict=True)
        for column, variance in zip(term.columns, np.diag(covariance), strict=True)
    }
    covariances = []
    for term in design.terms:
        scale = np.maximum(np.sqrt(np.mean(term.values**2, axis=0)), 1e-12)
        small = (FURTHER_SD / scale) ** 2
        covariances.append(
            np.diag(
                [
                    variances.get((term.name, column), each) if predictor == 0 else each
                    for column, predictor, each in zip(
                        term.columns, term.predictors, small, strict=True
                    )
                ]
            )
        )
    return first._replace(beta=np.concatenate(beta), covariances=tuple(covariances))


def _space_of_first(design: Design, space: ParamSpace) -> ParamSpace:
    return replace(
        space,
        fixed_names=design.first.names,
        terms=tuple(term_shape(term) for term in design.first.terms),
    )
