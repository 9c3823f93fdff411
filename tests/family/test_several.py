"""Log densities in series, of families with one and several linear predictors, against 60-digit arithmetic.

several.csv was worked out with mpmath 1.4.1 at 60 digits (150 where a predictor is beyond 60), and more for its
`diff`, from the textbook densities.
`predicted` are the own parameters with a predictor (of the categorical family, its categories), whose values
stand in `eta` behind the first one, and `own` the others, natural. Derivatives are those in all of these, in
ascending order: the value, first, second and third ones; of the third, those in two own parameters lack.
Responses of beta_binomial are out of 7 trials, or of 1,000 where they are larger.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.special

from lmeformula.family import FAMILIES, family
from lmeformula.family.predicted import with_predictors
from lmeformula.family.series import depths_space, slopes_space
from lmeformula.likelihood.laplace import expanded as expansion
from lmeformula.likelihood.laplace.automatic import automatic
from lmeformula.likelihood.laplace.expanded import expanded
from lmeformula.model.stack import mixture
from tests.family.single import arrays as single_arrays

TABLE = pd.read_csv(Path(__file__).parent / "several.csv", dtype=str, keep_default_na=False)
GROUPS = sorted(set(zip(TABLE["family"], TABLE["predicted"], TABLE["own"], strict=True)))


def numbers(column):
    return np.array([[float(part) for part in cell.split()] for cell in column])


def arrays(name, y, num_own, num_predictors):
    """The response arrays of a family, as it makes them of a design."""
    y = np.asarray(y, float)
    if name == "gaussian":
        return y, np.full(len(y), 1.3)
    if name == "gamma":
        return y, np.log(y)
    if name == "beta":
        return y, np.log(y), np.log1p(-y)
    if name.startswith("cumulative"):
        return y, np.eye(num_own + 1)[y.astype(int)]
    if name == "categorical":
        return y, np.eye(num_predictors + 1)[y.astype(int)]
    if name.startswith("beta_binomial"):
        trials = np.where(y <= 7.0, 7.0, 1000.0)
        log_gamma = scipy.special.gammaln
        return y, trials, log_gamma(trials + 1) - log_gamma(y + 1) - log_gamma(trials - y + 1)
    return single_arrays(name, y)


def powers(num_predictors, num_own):
    """The derivatives of the table."""
    variables = range(num_predictors + num_own)
    for order in range(4):
        for each in itertools.combinations_with_replacement(variables, order):
            if order < 3 or sum(variable >= num_predictors for variable in each) < 2:
                yield each


@pytest.mark.parametrize(("name", "predicted", "own"), GROUPS)
def test_against_60_digits(name, predicted, own):
    chosen = (TABLE[["family", "predicted", "own"]] == [name, predicted, own]).all(axis=1)
    eta, expected = numbers(TABLE["eta"][chosen]), numbers(TABLE["derivatives"][chosen])
    natural, k = np.array([float(part) for part in own.split()]), eta.shape[1]
    record = with_predictors(family(name), tuple(predicted.split()))
    response = arrays(name, TABLE["response"][chosen], len(natural), k)
    for space in (slopes_space(k), depths_space(k)):
        variables = [space.variable(a, eta[:, a]) for a in range(k)]
        others = [space.variable(k + place, value) for place, value in enumerate(natural)]
        with np.errstate(all="ignore"):
            found = record.series(variables, response, others)
        for place, each in enumerate(powers(k, len(natural))):
            if len(each) > space.order or (max(each, default=0) >= k and not space.has_own):
                continue
            value = found.derivative(each) if each else found.value
            # Far out, higher derivatives are what powers of the first one leave of each other.
            power = np.maximum(np.abs(expected[:, 1]), 1.0) ** (len(each) + 1)
            close = 1e-12 + 1e-13 * power * (len(each) > 1) + 1e-10 * np.abs(expected[:, place])
            wrong = ~(np.abs(value - expected[:, place]) <= close)
            assert not wrong.any(), (each, np.asarray(value), expected[:, place])


def stacked(name, predicted, own, responses):
    """A family with predictors, responses, own parameters, how rows are stacked, and where."""
    record, k = with_predictors(family(name), predicted), len(predicted) + (name != "categorical")
    y = np.repeat(responses, 4)
    mixed = mixture(np.array([1.0, 0.7, 1.3, 2.0])[:k], len(y))
    eta = np.random.default_rng(1).normal(size=len(mixed.readers) * len(y))
    return record, arrays(name, y, len(own), k), np.array(own), mixed, eta


STACKED = {
    "zero_inflated_poisson": (("zero_probability",), (), (0, 1, 40)),
    "zero_inflated_nbinom2": (("zero_probability",), (1.7,), (0, 1, 40)),
    "categorical": (("b", "c", "d"), (), (0, 1, 2, 3)),
    "student": ((), (1.5, 9.0), (-2.0, 0.3, 4.0)),
}


@pytest.mark.parametrize("name", STACKED)
def test_stacked_rows_have_the_automatic_derivatives(name):
    record, response, own, mixed, eta = stacked(name, *STACKED[name])
    forms = expanded(record, response, mixed), automatic(record, response, mixed)
    for found, expected in zip(*(form[:2] for form in forms), strict=True):
        for each, other in zip(
            found(eta, response, own), expected(eta, response, own), strict=True
        ):
            np.testing.assert_allclose(np.ravel(each), np.ravel(other), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["zero_inflated_nbinom2", "student"])
def test_scores_are_the_first_derivatives(name):
    record, response, own, mixed, eta = stacked(name, *STACKED[name])
    form = expanded(record, response, mixed)
    scores, slopes = (way(eta, response, own) for way in (form.scores, form.slopes))
    np.testing.assert_array_equal(scores.values, slopes.values)
    predictors = slice(0, mixed.num_predictors * mixed.num_rows)
    np.testing.assert_allclose(scores.first, slopes.first[predictors], rtol=1e-14)
    depths = form.depths(eta, response, own)
    np.testing.assert_allclose(scores.own_each, depths.own_each, rtol=1e-13)


@pytest.mark.parametrize("name", ["zero_inflated_nbinom2", "student"])
def test_rows_are_worked_out_in_parts(name, monkeypatch):
    record, response, own, mixed, eta = stacked(name, *STACKED[name])
    whole = [way(eta, response, own) for way in expanded(record, response, mixed)[:3]]
    monkeypatch.setattr(expansion, "CHUNK", 5)
    parts = [way(eta, response, own) for way in expanded(record, response, mixed)[:3]]
    for found, expected in zip(parts, whole, strict=True):
        for each, other in zip(found, expected, strict=True):
            # Scores have second derivatives only where they come without more work.
            assert (each is None) == (other is None)
            if other is not None:
                np.testing.assert_allclose(each, other, rtol=1e-13)


@pytest.mark.parametrize("name", FAMILIES)
def test_all_families_have_derivatives_without_tensorflow(name):
    record = FAMILIES[name]
    assert record.has_derivatives or record.grow is not None
    names = tuple(part.name for part in record.predicted)
    if names or record.grow is not None:
        assert with_predictors(record, names or ("b", "c")).has_derivatives
