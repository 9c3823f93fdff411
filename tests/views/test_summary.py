"""What a fit looks like in a terminal and in a notebook."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.em.outcome import Outcome
from lmeformula.model.params import Params
from lmeformula.views.summary import short_repr, summary
from tests.prediction.fakes import DATA, fake_fit, fake_mcem_fit

SUMMARY = """\
Converged: the estimates no longer move by more than their own error.

Linear mixed model
  formula  y ~ x + (x | g) + (1 | h)
  method   maximum likelihood by Monte Carlo EM, 9 iterations, 25,600 draws per
           chain in the last, as blocks of effects are large; its start by
           "laplace", approximate, took 1.500 of 9.000 s
  rows     12; 3 g, 2 h
  fit      logLik -7.25, df 7, AIC 28.50, BIC 31.89
  errors   standard errors from the observed information of the likelihood

Random effects
group     term           sd   corr
g         Intercept  0.5000
          x          0.2000  -0.60
h         Intercept  0.3000
Residual             0.5000

Fixed effects
           estimate  std error     z   2.5 %  97.5 %  MC error
Intercept    1.0000     0.4000  2.50  0.2160   1.784    0.0040
x            0.9000     0.1000  9.00  0.7040   1.096    0.0010"""

REPR = """\
Converged: the likelihood has a maximum here.
Linear mixed model, maximum likelihood (ML), exact
  formula  y ~ x + (x | g) + (1 | h)
  rows     12; 3 g, 2 h
  fit      logLik -7.25, df 7, AIC 28.50, BIC 31.89
  fixed    Intercept 1.000 (0.4000), x 0.9000 (0.1000)
  sd       g:Intercept 0.5000, g:x 0.2000, h 0.3000, residual 0.5000"""


def test_summary_as_text():
    assert str(summary(fake_mcem_fit(), ddf=None)) == SUMMARY


def test_one_iteration_is_singular():
    fit = fake_mcem_fit()
    assert ", 1 iteration, 100" in summary(replace(fit, iterations=fit.iterations[:1])).facts[1][1]


def test_repr_is_short():
    assert short_repr(fake_fit()) == REPR


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("width", [60, 80, 120])
def test_repr_stays_under_a_dozen_lines_and_begins_with_the_outcome(outcome, width):
    lines = short_repr(fake_fit(outcome=outcome), width).splitlines()
    assert lines[0].startswith(outcome.value.split()[0])
    assert len(lines) < 12
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [60, 80, 120])
def test_summary_keeps_within_the_terminal(width):
    text = summary(fake_mcem_fit()).to_text(width)
    assert max(map(len, text.splitlines())) <= width


def test_many_coefficients_are_counted_in_the_repr():
    columns = {f"z{i}": np.eye(12)[i] for i in range(8)}
    fit = fake_fit(f"y ~ {' + '.join(columns)}", DATA.assign(**columns))
    num_fixed = len(fit.model.design.names)
    fit = replace(
        fit,
        params=Params(np.full(num_fixed, 0.5), (), np.array([0.5])),
        param_names=(*fit.model.design.names, "sigma"),
        param_values=np.full(num_fixed + 1, 0.5),
        param_stderr=np.full(num_fixed + 1, 0.1),
        param_mc_error=np.zeros(num_fixed + 1),
    )
    text = short_repr(fit)
    assert f"... {num_fixed - 6} more" in text
    assert "Linear model" in text


def test_what_was_left_out_is_said():
    design = replace(fake_fit().model.design, num_missing=1234, dropped=("z",))
    text = str(summary(fake_fit(design=design, singular=True)))
    assert "12 (1,234 left out: missing values)" in text
    assert "z (determined by other columns)" in text
    assert "boundary" in text


def test_generalized_models_name_family_and_link():
    shown = summary(fake_fit(family="poisson"))
    assert shown.title == "Generalized linear mixed model (poisson, log link)"


def test_restricted_likelihood_is_said():
    assert "restricted maximum likelihood (REML), exact" in short_repr(fake_fit(reml=True))


def test_other_notations_hold_the_same_numbers():
    shown = summary(fake_fit())
    for text in (shown.to_markdown(), shown.to_latex(), shown._repr_html_()):
        for number in ("0.4000", "9.00", "0.2000"):
            assert number in text
    assert shown.outcome in shown._repr_html_()
    assert shown._repr_markdown_() == shown.to_markdown()


def test_the_event_of_two_classes_is_said():
    fit = lf.fit("r2 ~ Anger + (1 | id)", lf.datasets.load("VerbAgg").head(480), "bernoulli")
    assert "event    r2 is Y, not N" in str(fit.summary())
    assert "r2 is Y, not N" in repr(fit)
    numbers = lf.fit(
        "r ~ Anger + (1 | id)",
        lf.datasets.load("VerbAgg").head(480).assign(r=lambda d: (d["r2"] == "Y") * 1),
        "bernoulli",
    )
    assert "event" not in str(numbers.summary())


COUNTS = DATA.assign(count=np.arange(12) % 5, share=np.linspace(0.1, 0.9, 12))


@pytest.mark.parametrize(
    ("formula", "family", "said"),
    [
        ("count ~ x + (1 | g)", "nbinom2", "variance is mu + mu^2 / dispersion"),
        ("count ~ x + (1 | g)", "zero_inflated_nbinom2", "Of the counts the variance is mu + mu^2"),
        ("count ~ x + (1 | g)", "hurdle_poisson", "zero_probability: the chance of a zero"),
        ("share ~ x + (1 | g)", "beta", "variance is mu (1 - mu) / (1 + precision)"),
    ],
)
def test_own_parameters_are_in_peoples_words(formula, family, said):
    fit = lf.fit(formula, COUNTS, family, method="laplace")
    assert said in " ".join(str(fit.summary()).split())


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("quadrature", 'as blocks of effects are small; method="laplace" is quicker'),
        ("laplace", 'Laplace approximation; method="auto" goes beyond it'),
    ],
)
def test_a_method_says_what_another_one_is(method, said):
    fit = lf.fit("count ~ x + (1 | g)", COUNTS, "poisson", method=method)
    assert said in " ".join(str(fit.summary()).split())
