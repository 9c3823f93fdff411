"""Whether the log-likelihoods of fits can be compared, and with what reservations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel, check_maximum
from lmeformula.history import error_of_difference
from lmeformula.prediction.parameters import parameters

A_FIT = "Give fits, as lf.fit returns them."
# Measures that families share; densities of others are compared with the same family's only.
SHARED = ("counts", "numbers")


def same_measure(one: FittedModel, other: FittedModel) -> bool:
    """Whether log densities of rows by two fits are of the same numbers, so that they can be subtracted."""
    kinds = {_kind(one), _kind(other)}
    measures = {fit.model.family.base.measure for fit in (one, other)}
    both_ordered = all(fit.model.family.categories is not None for fit in (one, other))
    shared = len(measures) == 1 and measures <= set(SHARED)
    return len(kinds) == 1 or shared or both_ordered


def check_comparable(fits: Sequence[FittedModel]) -> None:
    """Refuse fits whose log-likelihoods are not of the same data on the same scale.

    Args:
      fits: in the order of their numbers of parameters.
    Raises:
      ModelError: with the reason, and what to do.
    """
    if len(fits) < 2:
        raise ModelError(
            "a likelihood-ratio test takes two fits or more", hint="Write fit.anova(another_fit)."
        )
    for one, other in pairwise(fits):
        _check_rows(one, other)
        _check_likelihoods(one, other)
        if one.loglik.df == other.loglik.df:
            raise ModelError(
                f"two fits have {one.loglik.df} parameters each: neither is a special case of the other",
                hint="Compare their aic instead.",
            )
        _check_ends(one, other)


def check_criteria(one: FittedModel, other: FittedModel) -> None:
    """Refuse fits whose information criteria are not of the same data on the same scale.

    Raises:
      ModelError: with the reason, and what to do.
    """
    _check_rows(one, other, one_family=same_measure(one, other))
    _check_likelihoods(one, other)
    _check_ends(one, other)


def caveats(fits: Sequence[FittedModel]) -> list[str]:
    """What makes the chi-square distribution a rough reference, in sentences.

    Args:
      fits: in the order of their numbers of parameters.
    """
    notes = [
        f"{number}: not converged; its log-likelihood may be too low."
        for number, fit in enumerate(fits, 1)
        if not fit.converged
    ]
    for number, (smaller, larger) in enumerate(pairwise(fits), 2):
        fall = 2.0 * (smaller.loglik.value - larger.loglik.value)
        error = 2.0 * error_of_difference(smaller.loglik, larger.loglik)
        if not _is_nested(smaller, larger):
            notes.append(
                f"{number}: {number - 1} does not look like a special case of it, and then there is no "
                "chi-square distribution to compare with."
            )
        elif fall > 1e-4 + 4.0 * error:
            notes.append(
                f"{number}: the log-likelihood is lower than that of {number - 1}, a special case of it: "
                "one of the fits is not at its maximum."
            )
        notes += _boundary(smaller, larger, number)
    return notes


def _check_rows(one: FittedModel, other: FittedModel, *, one_family: bool = False) -> None:
    a, b = one.model.design, other.model.design
    if a.n != b.n:
        raise ModelError(
            f"the fits are of different rows: {a.n:,} and {b.n:,}",
            hint="Rows with missing values in a formula are left out: fit both to the same rows.",
        )
    are_counts = all(fit.model.family.base.measure == "counts" for fit in (one, other))
    if not one_family and _kind(one) != _kind(other) and not are_counts:
        raise ModelError(
            f"the families differ: {one.model.family.name} and {other.model.family.name}",
            hint="Their densities are not of the same numbers; compare predictions instead.",
        )
    if not np.array_equal(one.model.family.response(a)[0], other.model.family.response(b)[0]):
        raise ModelError(
            "the fits are of different responses",
            hint="A transformed response, or other rows, have another likelihood; fit the same ones.",
        )
    if not np.array_equal(row_weights(one), row_weights(other)):
        raise ModelError("the fits have different weights", hint="Fit both with the same weights.")


def _check_likelihoods(one: FittedModel, other: FittedModel) -> None:
    for fit in (one, other):
        check_maximum(fit, "a comparison of likelihoods")
    if one.reml != other.reml:
        raise ModelError(
            "one fit is of the likelihood, the other of the restricted one",
            hint="Fit both with reml=False.",
        )
    if one.reml and not np.array_equal(one.model.design.X, other.model.design.X):
        raise ModelError(
            "restricted likelihoods of different fixed effects are not comparable",
            hint="Fit both with reml=False.",
        )
    # That of a Gaussian fit is exact, by whatever method its estimates were found; others are of the likelihood
    # itself but for Laplace's approximation.
    approximated = {fit.has_modes for fit in (one, other) if not _has_exact_likelihood(fit)}
    if len(approximated) > 1:
        raise ModelError(
            f"one log-likelihood is by {one.method}, the other by {other.method}",
            hint="An approximation is off by more than models differ by: fit both by one method.",
        )


def _check_ends(*fits: FittedModel) -> None:
    if not all(np.isfinite(fit.loglik.value) for fit in fits):
        wrong = "a fit that ended before its first iteration has no log-likelihood"
        raise ModelError(wrong, hint="See fit.outcome.")


def _boundary(smaller: FittedModel, larger: FittedModel, number: int) -> list[str]:
    few, many = _num_sds(smaller), _num_sds(larger)
    if many <= few:
        return []
    sentence = (
        f"{number}: tests variances against zero, the edge of what they can be, where the chi-square "
        "distribution gives too large a p"
    )
    alone = larger.loglik.df - smaller.loglik.df == 1
    return [sentence + ("; half of it is right for one variance." if alone else ".")]


def _is_nested(smaller: FittedModel, larger: FittedModel) -> bool:
    """Whether the columns of the smaller fit, fixed and random, are among those of the larger one."""
    few, many = _fixed_columns(smaller), _fixed_columns(larger)
    constant = np.ones((smaller.model.design.n, 1))
    spanned = all(
        _is_spanned(few.get(name, constant), many.get(name, constant)) for name in few | many
    )
    return spanned and _random_columns(smaller) <= _random_columns(larger)


def _fixed_columns(fit: FittedModel) -> dict[str, Floats]:
    """The fixed columns (n, p) of each linear predictor; an own parameter without one is a constant."""
    design, family = fit.model.design, fit.model.family
    each = zip(family.predictors, design.predictors, strict=True)
    found = {name: predictor.design.X for name, predictor in each}
    rules = family.base.predicted
    empty = np.zeros((design.n, 0))
    return {rule.name: empty for rule in rules if not rule.has_intercept} | found


def _is_spanned(X: Floats, wide: Floats) -> bool:
    """Whether the columns of X are combinations of those of the other."""
    if not X.shape[1]:
        return True
    if not wide.shape[1]:
        return False
    scale = np.sqrt((X**2).sum(0))
    rest = X / scale - wide @ np.linalg.lstsq(wide, X / scale, rcond=None)[0]
    return float(np.abs(rest).max(initial=0.0)) <= 1e-8


def _random_columns(fit: FittedModel) -> set[tuple[str, str]]:
    return {(term.group, column) for term in fit.model.design.terms for column in term.columns}


def _num_sds(fit: FittedModel) -> int:
    return sum(parameter.effect == "sd" for parameter in parameters(fit))


def _kind(fit: FittedModel) -> str:
    """The family's name without its link, and without the predictors that it has besides the first."""
    return fit.model.family.base.name.partition("(")[0]


def _has_exact_likelihood(fit: FittedModel) -> bool:
    """Whether all methods give the same likelihood: that of normal responses whose means alone vary."""
    is_mean = all(
        predictor == 0 for term in fit.model.design.terms for predictor in term.predictors
    )
    return fit.model.family.base.is_normal and is_mean


def row_weights(fit: FittedModel) -> Floats:
    """Prior weights, frequencies, and what else the response holds besides itself, such as trials."""
    design = fit.model.design
    ones = np.ones(design.n)
    family = fit.model.family
    parts = family.response(design)[1:2] if family.has_trials else ()
    weights = ones if design.weights is None else design.weights
    return np.column_stack([weights, design.frequencies, *parts])
