"""The distribution of rows at given linear predictors - draws from it, and its chances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.special

from lmeformula.arrays import Floats
from lmeformula.design.design import Design, NewRows
from lmeformula.errors import ModelError
from lmeformula.family.record import Arrays
from lmeformula.fit import FittedModel
from lmeformula.prediction.predictor import chances_at, row_family

# One of these is a response of any family: a count, a positive number, a share, a yes or no, a category.
STAND_INS = (1.0, 0.5, 0.0, 2.0)

# Probabilities of whole numbers that are worked out at a time.
CHUNK = 2**18


def response_arrays(fit: FittedModel, rows: Design | NewRows) -> Arrays:
    """The response arrays of rows, for what their distribution reads of them: trials and prior weights.

    Args:
      fit: a fitted model.
      rows: its own rows, or new ones. Those need their response only where it tells trials or weights: else a
        number that the family takes stands in for it.
    Raises:
      ModelError: if the fit was loaded without its rows, or there are trials or weights and no response.
    """
    family, design = fit.model.family, fit.model.design
    if isinstance(rows, Design):
        return family.response(rows)
    assert design.response is not None
    num_rows = len(rows.offset)
    made = rows.in_place_of(design)
    if needs_response(fit):
        if rows.response is not None:
            return family.response(replace(made, response=rows.response))
        if has_trials(design) or rows.weights is None:
            raise ModelError(
                "responses cannot be drawn without their numbers of trials or prior weights",
                hint="Give the new rows the columns of the trials and of the weights.",
            )
    refusal: ModelError | None = None
    for number in STAND_INS:
        block = replace(design.response, values=np.full(num_rows, number))
        try:
            return family.response(replace(made, response=block))
        except ModelError as error:
            refusal = error
    assert refusal is not None
    raise refusal


def needs_response(fit: FittedModel) -> bool:
    """Whether the distribution of a row depends on trials or weights, which come with the response."""
    design = fit.model.design
    return has_trials(design) or design.weights is not None


def has_trials(design: Design) -> bool:
    """Whether the response tells numbers of trials."""
    assert design.response is not None
    return design.response.trials is not None or design.response.kind == "matrix"


def draw_rows(
    fit: FittedModel,
    eta: Floats,
    response: Arrays,
    seed: np.random.SeedSequence,
    own: Floats | None = None,
) -> Floats:
    """Draw a response for each row, as the family counts it: categories from 0, successes, numbers.

    Args:
      fit: of which the family and its own parameters are taken.
      eta: (..., K, n) linear predictors.
      response: what `response_arrays` gives for the rows.
      seed: of the draws: the same one, the same draws.
      own: (m, v) own parameters of each of m draws, for eta of m in front; those of the fit by default.
    Returns:
      (..., n); nan where a predictor or an own parameter is.
    """
    family = fit.model.family
    if family.is_normal:
        # Without TensorFlow, which exact fits do not start.
        return np.asarray(draw_normal_rows(fit, eta[None], response, [seed])[0])
    key = seed.generate_state(2).astype(np.int32)
    # Samplers that reject draws would go on without end.
    unknown = ~np.isfinite(eta)
    held = np.where(unknown, 0.0, eta)
    if own is not None:
        lost = np.asarray(np.isnan(own).any(axis=1))
        own = np.where(lost[:, None], fit.params.own, own)
        unknown = unknown | lost.reshape(-1, *[1] * (eta.ndim - 1))
    drawn = np.asarray(distribution(fit, held, response, own).sample(seed=key), np.float64)
    return np.where(unknown.any(axis=-2), np.nan, drawn)


def draw_normal_rows(
    fit: FittedModel, eta: Floats, response: Arrays, seeds: Sequence[np.random.SeedSequence]
) -> Floats:
    """Draw m times what `draw_rows` does of a normal family, by a seed for each.

    Args:
      eta: (m, ..., K, n).
    """
    means = fit.model.family.as_taken(eta)
    errors = [np.random.default_rng(seed).standard_normal(means.shape[1:]) for seed in seeds]
    return np.asarray(means + _sds(fit, response) * np.stack(errors))


def distribution(fit: FittedModel, eta: Floats, response: Arrays, own: Floats | None = None) -> Any:
    """The TFP distribution of rows at predictors (..., K, n); own parameters (m, v) of draws, or the fit's."""
    import tensorflow as tf

    given = tuple(tf.constant(array, tf.float64) for array in response)
    values = fit.params.own if own is None else own.T[:, :, None]
    each = tuple(tf.constant(value, tf.float64) for value in values)
    at = tf.constant(fit.model.family.as_taken(eta), tf.float64)
    return fit.model.family.distribution(at, given, each)


def standardized(fit: FittedModel, eta: Floats, response: Arrays) -> Floats:
    """(n,) normal responses less their means, over their standard deviations."""
    return np.asarray((response[0] - eta[0]) / _sds(fit, response))


def chances(
    fit: FittedModel, eta: Floats, response: Arrays, seed: np.random.SeedSequence
) -> tuple[Floats, Floats]:
    """The chances of a response below the one observed, and of one up to it.

    The family's own probabilities where it has categories; its distribution function, or that of its TFP
    distribution where that has one; and sums of its probabilities where it counts.

    Args:
      fit: of which the family and its own parameters are taken.
      eta: (K, n) linear predictors.
      response: the rows' response arrays.
      seed: of draws that tell whether the distribution has whole numbers only.
    Returns:
      below: (n,) P(Y < y), which is P(Y <= y) where the distribution has a density.
      upto: (n,) P(Y <= y).
    Raises:
      ModelError: if a continuous distribution has no distribution function in TFP.
    """
    family, observed = fit.model.family, response[0]
    if family.is_normal:
        found = np.asarray(scipy.special.ndtr(standardized(fit, eta, response)))
        return found, found
    if family.categories is not None and family.probabilities is not None:
        each = chances_at(fit, eta)
        sums = np.hstack([np.zeros((len(each), 1)), np.cumsum(each, axis=1)])
        place, rows = observed.astype(np.int64), np.arange(len(each))
        return sums[rows, place], np.minimum(sums[rows, place + 1], 1.0)
    inner, one, own_of_rows = row_family(fit, eta, fit.params.own)
    if inner.cdf is not None:
        is_whole = family.base.measure == "counts"
        # Just below a value that has a chance.
        before = observed - 1.0 if is_whole else np.nextafter(observed, -np.inf)
        has_chance = is_whole | np.isin(observed, family.atoms)
        upto = inner.cdf(observed, one, own_of_rows)
        return np.where(has_chance, inner.cdf(before, one, own_of_rows), upto), upto
    made = distribution(fit, eta, response)
    draws = draw_rows(fit, eta, response, seed)
    is_whole = bool((draws == np.round(draws)).all())
    try:
        upto = np.asarray(made.cdf(observed), np.float64)
    except NotImplementedError:
        if not is_whole:
            raise ModelError(
                f"the distribution of the {family.name} family has no distribution function",
                hint='Use kind="response" or kind="pearson".',
            ) from None
        return _summed(fit, eta, response)
    if not is_whole:
        is_atom = np.isin(observed, family.atoms)
        # At the others a density may be infinite.
        held = np.where(is_atom, observed, family.atoms[0] if family.atoms else observed)
        own = np.exp(np.asarray(made.log_prob(held), np.float64)) if is_atom.any() else 0.0
        return np.maximum(upto - np.where(is_atom, own, 0.0), 0.0), upto
    lowest = observed <= 0
    below = np.asarray(made.cdf(np.where(lowest, 0.0, observed - 1.0)), np.float64)
    return np.where(lowest, 0.0, below), upto


def _summed(fit: FittedModel, eta: Floats, response: Arrays) -> tuple[Floats, Floats]:
    """Sums of the probabilities of whole numbers from zero, each row's as far as its response."""
    observed = response[0].astype(np.int64)
    below, own = np.zeros(len(observed)), np.zeros(len(observed))
    sizes = observed + 1
    ends = np.cumsum(sizes)
    for start in range(0, int(ends[-1]), CHUNK):
        place = np.arange(start, min(start + CHUNK, int(ends[-1])))
        rows = np.searchsorted(ends, place, side="right")
        number = place - (ends - sizes)[rows]
        made = distribution(fit, eta[:, rows], tuple(array[rows] for array in response))
        chance = np.exp(np.asarray(made.log_prob(number.astype(np.float64)), np.float64))
        is_last = number == observed[rows]
        below += np.bincount(rows, np.where(is_last, 0.0, chance), len(below))
        own += np.bincount(rows, np.where(is_last, chance, 0.0), len(own))
    return np.minimum(below, 1.0), np.minimum(below + own, 1.0)


def _sds(fit: FittedModel, response: Arrays) -> Floats:
    """(n,) residual standard deviations of normal rows."""
    return fit.params.residual_sd / np.sqrt(response[1])
