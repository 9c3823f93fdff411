"""Families, models and fits go through a pickle, as process pools and joblib need."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.model.family import FAMILIES
from lmeformula.model.family import family as find_family
from lmeformula.model.family.predicted import with_predictors
from tests.store.fits import CASES, data, fitted, new_rows

WRITTEN = (*FAMILIES, "bernoulli(probit)", "cumulative(cloglog, thresholds=equidistant)")


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("written", WRITTEN)
def test_families_come_back(written):
    family = find_family(written)
    assert through_pickle(family).written == family.written


def test_further_predictors_come_back():
    family = with_predictors(find_family("nbinom2"), ("dispersion",))
    assert through_pickle(family).predictors == family.predictors


def test_a_family_that_only_has_the_name_is_not_taken_for_that_of_the_table():
    mean = abs  # a function that a pickle takes, and that the table does not have
    other = find_family("poisson")._replace(mean=mean)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(other)


@pytest.mark.parametrize("name", CASES)
def test_fits_come_back(name):
    fit = fitted(name)
    again = through_pickle(fit)
    np.testing.assert_array_equal(again.param_values, fit.param_values)
    np.testing.assert_array_equal(again.param_vcov, fit.param_vcov)
    rows = new_rows(name)
    np.testing.assert_array_equal(again.predict(rows), fit.predict(rows))
    assert str(again.summary()) == str(fit.summary())


def test_a_model_whose_joint_distribution_was_asked_for():
    model = lf.compile(lf.design("k ~ x + (1 | g)", data()), "poisson")
    assert model.joint is not None
    again = through_pickle(model)
    assert repr(again) == repr(model)
    assert again.joint is not None


def test_a_fit_can_be_copied():
    fit = fitted("poisson")
    assert copy.deepcopy(fit).loglik == fit.loglik
