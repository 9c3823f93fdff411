"""Families, models and fits go through a pickle, as process pools and joblib need."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.family import FAMILIES, Family
from lmeformula.family import family as find_family
from lmeformula.family.predicted import with_predictors
from tests.store.fits import CASES, data, fitted, new_rows

WRITTEN = (*FAMILIES, "bernoulli(probit)", "cumulative(cloglog, thresholds=equidistant)")


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("written", WRITTEN)
def test_families_come_back(written):
    family = find_family(written)
    assert through_pickle(family).written == family.written
    assert copy.deepcopy(family).written == family.written


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_of_the_table_it_is_the_record_itself_that_comes_back(protocol):
    family = FAMILIES["poisson"]
    assert pickle.loads(pickle.dumps(family, protocol)) is family
    assert copy.copy(family) is copy.deepcopy(family) is family


def test_further_predictors_come_back():
    family = with_predictors(find_family("nbinom2"), ("dispersion",))
    assert through_pickle(family).predictors == family.predictors
    assert copy.deepcopy(family).predictors == family.predictors


def test_families_come_back_in_another_process(tmp_path):
    """Whichever of their files is imported there first, here and there."""
    path = tmp_path / "families"
    made = (
        "import pickle\n"
        "from lmeformula.family.counts import POISSON\n"
        "from lmeformula.family.predicted import with_predictors\n"
        "from lmeformula.family.negative_binomial import NBINOM2\n"
        "further = with_predictors(NBINOM2, ('dispersion',))\n"
        f"open({str(path)!r}, 'wb').write(pickle.dumps((POISSON, further)))"
    )
    read = f"import pickle; print(pickle.load(open({str(path)!r}, 'rb')))"
    root = Path(__file__).parents[2]
    for code in (made, read):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=root
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout == "(Family(poisson(log)), Family(nbinom2[dispersion](log)))\n"


def mean_of(eta, own):
    return np.exp(eta)


def test_one_that_is_not_in_the_table_goes_with_its_functions():
    """Where a pickle takes them; to a copy they go in any case."""
    functions = dict.fromkeys(
        ("response", "distribution", "mean", "working", "own", "serves"), mean_of
    )
    family = Family(name="mine", link="log", **functions)
    assert through_pickle(family) == family
    other = find_family("poisson")._replace(mean=mean_of)
    assert copy.deepcopy(other) == other


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
