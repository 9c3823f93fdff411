"""Response families: the table, the responses they take, their densities."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.arguments.kinds import folded
from lmeformula.errors import ModelError
from lmeformula.family import FAMILIES, family
from lmeformula.family.built_in import MAY_MEAN, OTHER_NAMES
from tests.simulate import frame


def test_by_name_and_as_a_record():
    gaussian = family("gaussian")
    assert family(gaussian) is gaussian
    assert all(name == record.name for name, record in FAMILIES.items())


def test_unknown():
    with pytest.raises(ModelError) as caught:
        family("gausian")
    assert str(caught.value) == (
        "there is no family 'gausian'\nDid you mean \"gaussian\"? Families that can be fitted: "
        + ", ".join(FAMILIES)
        + "."
    )


# As other packages call them, and with typos -> the family here.
MEANT = {
    "Gaussian": "gaussian",
    "normal": "gaussian",
    "Poisson": "poisson",
    "Gamma(link = 'log')": "gamma",
    "betabinomial": "beta_binomial",
    "Beta-Binomial": "beta_binomial",
    "binomial()": "binomial",
    "negbinomial": "nbinom2",
    "negative.binomial": "nbinom2",
    "negbinomial(link='log')": "nbinom2",
    "t": "student",
    "t_family": "student",
    "zero_inflated_negbinomial": "zero_inflated_nbinom2",
    "Bernoulli(probit)": "bernoulli",
    'bernoulli(link = "probit")': "bernoulli",
}


@pytest.mark.parametrize("written", MEANT)
def test_another_name_of_one_family_is_taken(written):
    found = family(written)
    assert found.name == MEANT[written]
    assert found.link == ("probit" if "probit" in written else family(found.name).link)


NEAR = {
    "nbinom": "nbinom2",
    "truncated_poisson": "hurdle_poisson",
    "multinomial": "categorical",
    "weibull": None,
}


@pytest.mark.parametrize("written", NEAR)
def test_another_name_is_answered_with_the_family_that_may_be_meant(written):
    with pytest.raises(ModelError, match="there is no family") as caught:
        family(written)
    meant = NEAR[written]
    assert caught.value.hint.startswith(f'Did you mean "{meant}"?') is (meant is not None)
    assert "Families that can be fitted: gaussian, " in caught.value.hint


def test_names_elsewhere_are_of_families_here():
    assert {*OTHER_NAMES.values(), *MAY_MEAN.values()} <= set(FAMILIES)
    assert not {*OTHER_NAMES, *MAY_MEAN} & {folded(name) for name in FAMILIES}
    assert all(name == folded(name) for name in {*OTHER_NAMES, *MAY_MEAN})


@pytest.mark.parametrize("given", [3, None, str])
def test_what_is_no_family_is_said_by_the_argument(given):
    with pytest.raises(ModelError, match=r"^family is "):
        lf.fit("y ~ x + (1 | g)", frame(), given)


REFUSED = {
    "text": ("y ~ x + (1 | g)", {"y": np.where(frame()["y"] > 2, "a", "b")}, "is categorical"),
    "matrix": ("cbind(x, z) ~ 1 + (1 | g)", {}, "is matrix"),
    "trials": (
        "k | trials(t) ~ x + (1 | g)",
        {"k": frame()["g"], "t": np.full(72, 20)},
        "gaussian",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_gaussian_refuses(case):
    formula, columns, says = REFUSED[case]
    design = lf.design(formula, {**frame(), **columns})
    with pytest.raises(ModelError, match=says) as caught:
        lf.compile(design)
    assert caught.value.hint


@pytest.mark.parametrize("logical", [False, True])
def test_gaussian_response_is_numbers_and_weights(logical):
    data = frame()
    data["y"] = data["y"] > 2 if logical else data["y"]
    y, weights = family("gaussian").response(lf.design("y ~ x + (1 | g)", data))
    np.testing.assert_array_equal(y, data["y"].astype(float))
    np.testing.assert_array_equal(weights, np.ones(72))
    _, weights = family("gaussian").response(lf.design("y ~ x + (1 | g)", data, weights="w"))
    np.testing.assert_array_equal(weights, data["w"])


LINKS = [
    ("bernoulli", "logit"),
    ("bernoulli(probit)", "probit"),
    ("cumulative( cloglog )", "cloglog"),
    ("nbinom2(log)", "log"),
]


@pytest.mark.parametrize(("written", "link"), LINKS)
def test_links_are_written_in_parentheses(written, link):
    found = family(written)
    assert found.name == written.partition("(")[0]
    assert found.link == link


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("cumulative(cauchit)", "the cumulative family has no link 'cauchit'"),
        ("poisson(sqrt)", "the poisson family has no link 'sqrt'"),
        (
            "binomial(form='probit')",
            "the family \"binomial(form='probit')\" is not written as families are",
        ),
        ("probit", "there is no family 'probit'"),
        ("cumulative(probit", "there is no family 'cumulative(probit'"),
    ],
)
def test_unknown_links(written, says):
    with pytest.raises(ModelError) as caught:
        family(written)
    assert str(caught.value).splitlines()[0] == says
    assert caught.value.hint


def design_of(y, **data):
    return lf.design("y ~ x + (1 | g)", {**frame(), "y": y, **data})


GRADES = np.arange(72) % 3
ORDERED = {
    "numbers from 1": (GRADES + 1, ("1", "2", "3")),
    "text of numbers": ((GRADES + 9).astype(str), ("9", "10", "11")),
    "an ordered categorical": (
        pd.Categorical.from_codes(GRADES, ["low", "mid", "high"], ordered=True),
        ("low", "mid", "high"),
    ),
    "two categories": (1 + (GRADES > 0), ("1", "2")),
}


@pytest.mark.parametrize("case", ORDERED)
def test_ordered_categories(case):
    y, levels = ORDERED[case]
    model = lf.compile(design_of(y), "cumulative")
    names = tuple(f"{low}|{high}" for low, high in itertools.pairwise(levels))
    assert model.space.own.names == names
    assert "Intercept" not in model.design.names
    codes, indicators = model.family.response(model.design)
    expected = GRADES if len(levels) == 3 else GRADES > 0
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(indicators.argmax(axis=1), expected)
    assert np.isfinite(model.space.to_free(model.start)).all()


UNORDERED = {
    "names without an order": (
        "cumulative",
        np.array(["low", "mid", "high"])[GRADES],
        "needs ordered categories, or whole numbers from 1",
        "pandas.Categorical",
    ),
    "zero": ("cumulative", GRADES, "whole numbers from 1", "recode them as 1, 2"),
    "fractions": ("cumulative", GRADES + 1.5, "whole numbers from 1", "ordered categorical"),
    "a gap": ("cumulative", 1 + 2 * GRADES, "no row has the category 2, 4", "ordered(...)"),
    "yes and no": ("cumulative", GRADES > 0, "whole numbers from 1", "bernoulli"),
    "counts with fractions": ("nbinom2", GRADES + 0.5, "the nbinom2 family needs counts", "offset"),
    "zeros": ("gamma", GRADES.astype(float), "the gamma family needs positive numbers", "Zeros"),
    "ones": ("beta", GRADES / 2, "the beta family needs numbers strictly between", "binomial"),
}


@pytest.mark.parametrize("case", UNORDERED)
def test_responses_that_do_not_fit_are_refused(case):
    name, y, says, cure = UNORDERED[case]
    with pytest.raises(ModelError) as caught:
        lf.compile(design_of(y), name)
    assert says in str(caught.value)
    assert cure in caught.value.hint


@pytest.mark.parametrize("name", ["cumulative", "nbinom1", "gamma", "beta"])
def test_prior_weights_are_refused(name):
    y = {
        "cumulative": GRADES + 1,
        "nbinom1": GRADES,
        "gamma": GRADES + 1.0,
        "beta": 0.3 + GRADES / 9,
    }
    design = lf.design("y ~ x + (1 | g)", {**frame(), "y": y[name]}, weights="w")
    with pytest.raises(ModelError, match=f"the {name} family does not take prior weights"):
        lf.compile(design, name)


def test_trials_ask_for_a_family_of_trials():
    data = pd.DataFrame({"y": [1, 2, 3], "n": [3, 4, 5], "g": ["a", "b", "b"]})
    with pytest.raises(ModelError, match="counts successes out of trials") as caught:
        lf.compile(lf.design("y | trials(n) ~ 1 + (1 | g)", data))
    assert 'family="binomial"' in str(caught.value)
