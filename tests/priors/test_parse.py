"""Texts and distributions as priors, and what is said of those that are none."""

from __future__ import annotations

import pickle

import pytest

from lmeformula.errors import ModelError
from lmeformula.priors import prior
from lmeformula.priors.parse import KINDS

WRITTEN = [
    ("normal(0, 2.5)", "normal(0, 2.5)"),
    (" Normal( mean=0, sd = 2.5 ) ", "normal(0, 2.5)"),
    ("t(3, 0, 1)", "student(3, 0, 1)"),
    ("student_t(3, -1, 0.1)", "student(3, -1, 0.1)"),
    ("cauchy(0, 1e3)", "cauchy(0, 1000)"),
    ("half_normal(0, 2)", "half_normal(2)"),
    ("half_student(3, 0, 2.5)", "half_student(3, 0, 2.5)"),
    ("half_cauchy(2)", "half_cauchy(0, 2)"),
    ("exponential(1)", "exponential(1)"),
    ("gamma(2.5, 0)", "gamma(2.5, 0)"),
    ("gamma(shape = 2.5, rate = 0)", "gamma(2.5, 0)"),
    ("invgamma(2, 1)", "inverse_gamma(2, 1)"),
    ("lognormal(0, 1)", "lognormal(0, 1)"),
    ("beta(2, 3)", "beta(2, 3)"),
    ("lkj(2)", "lkj(2)"),
    ("wishart", "wishart()"),
    ("wishart(6.5)", "wishart(6.5)"),
    ("wishart(6.5, inf)", "wishart(6.5)"),
    ("wishart(scale = 3)", "wishart(scale=3)"),
    ("inverse_wishart(4, 1)", "inverse_wishart(4, 1)"),
    ("normal(0, 0.3333333333333333)", "normal(0, 0.3333333333333333)"),
]


@pytest.mark.parametrize(("text", "written"), WRITTEN)
def test_a_text_is_a_prior_that_is_written_so_again(text, written):
    found = prior(text)
    assert found.text == str(found) == written
    assert prior(found.text) == found == pickle.loads(pickle.dumps(found))
    assert prior(found) is found


def test_each_kind_is_among_the_cases():
    assert {written.partition("(")[0] for _, written in WRITTEN} == set(KINDS)


WRONG = [
    ("norml(0, 1)", "Did you mean normal?"),
    ("poisson(1)", "Priors: normal, student"),
    ("normal(0, -1)", "the sd of the prior normal(0, -1) is -1\nGive a sd above zero."),
    ("normal(0, 0)", "Give a sd above zero."),
    ("normal(0, inf)", "Give a finite number."),
    ("normal(0)", "They are normal(mean, sd)."),
    ("normal(0, 1, 2)", "They are normal(mean, sd)."),
    ("normal(mean=0, sigma=1)", "They are normal(mean, sd)."),
    ("normal(a, 1)", "something else than numbers"),
    ("normal(0, True)", "something else than numbers"),
    ("normal(0, 1) + 1", "is not a prior"),
    ("normal(0, 1", "is not a prior"),
    ("", "is not a prior"),
    ("half_student(3, 1, 1)", "half a density is about zero"),
    ("gamma(2, -1)", "Give a rate above zero."),
    ("beta(0, 1)", "Give a a above zero."),
    ("lkj(-2)", "Give a shape above zero."),
    (3, "a prior is 3"),
    (None, "a prior is None"),
]


@pytest.mark.parametrize(("given", "words"), WRONG)
def test_what_is_no_prior_is_refused_in_words(given, words):
    with pytest.raises(ModelError) as caught:
        prior(given)
    assert words in str(caught.value)


def test_distributions_of_tfp_are_priors():
    import tensorflow as tf
    import tensorflow_probability as tfp

    tfd = tfp.distributions
    assert prior(tfd.Normal(0.0, 2.5)).text == "normal(0, 2.5)"
    assert prior(tfd.StudentT(3.0, 0.0, 2.5)).text == "student(3, 0, 2.5)"
    assert prior(tfd.HalfCauchy(0.0, 2.0)).text == "half_cauchy(0, 2)"
    assert prior(tfd.Gamma(2.0, 0.5)).text == "gamma(2, 0.5)"
    assert prior(tfd.LKJ(3, 2.0)).text == "lkj(2)"
    for wrong in (tfd.Laplace(0.0, 1.0), tfd.Normal(tf.zeros(2), 1.0)):
        with pytest.raises(ModelError):
            prior(wrong)


def test_an_improper_prior_cannot_be_drawn_from():
    assert not prior("gamma(2.5, 0)").is_proper
    assert not prior("wishart()").is_proper
    with pytest.raises(ModelError, match="improper"):
        prior("gamma(2.5, 0)").distribution()
