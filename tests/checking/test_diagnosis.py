"""Diagnostics in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lmeformula.checking.diagnosis import diagnostics_text, laplace_sentence
from lmeformula.checking.diagnostics import LaplaceDistance
from lmeformula.em.outcome import Outcome
from tests.prediction.fakes import fake_fit, fake_mcem_fit

TEXT = """\
Converged: the estimates no longer move by more than their own error.
  sampling    9 iterations, in the last 2 chains of 25,600 draws: acceptance
              0.81, split R-hat 1.004, smallest ESS 12,345, divergences 0
  error       largest Monte Carlo error 1 % of a standard error (Intercept),
              last step 0.4 % (sd(g:Intercept))
  variates    control variates divide the variance of the scores by 5 to 240
  Laplace     understates sd(g:Intercept) by 24 % (0.6 standard errors),
              understates sd(h) by 15 % (0.3 standard errors); others within
              0.10
  std errors  from the observed information of the likelihood; condition of the
              estimates' correlations 1
  seconds     9: design 0.1, compile 2, Laplace 1.5, whitening 0.4, E- and
              M-steps 4, log-likelihood 0.8"""

EXACT = """\
Converged: the likelihood has a maximum here.
  maximum     after 6 evaluations, 1.4e-06 standard errors away by the gradient
              that was left
  std errors  from the observed information of the likelihood; condition of the
              estimates' correlations 1
  seconds     0.5: design 0.1, compile 0.2, fit 0.15, the rest 0.05"""


def test_monte_carlo():
    assert repr(fake_mcem_fit().diagnostics) == TEXT


def test_exact():
    seconds = fake_fit().seconds._replace(total=0.5)
    assert repr(fake_fit(seconds=seconds).diagnostics) == EXACT


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("width", [80, 100])
def test_short_and_within_the_terminal(outcome, width):
    lines = diagnostics_text(fake_mcem_fit(outcome=outcome).diagnostics, width).splitlines()
    assert lines[0].startswith(outcome.value.split()[0])
    # A parameter at its limit has a line of its own.
    assert len(lines) < 15 + (outcome is Outcome.BOUNDARY)
    assert max(map(len, lines)) <= width


def test_advice_comes_last():
    fit = fake_mcem_fit()
    fit = replace(fit, sampling=fit.sampling._replace(divergences=3, rhat=1.2))
    text = repr(fit.diagnostics)
    assert "3 transitions diverged" in text
    assert text.index("transitions diverged") < text.index("chains disagree")


def test_html_holds_the_same():
    found = fake_mcem_fit().diagnostics
    page = found._repr_html_()
    assert found.outcome.value in page
    assert "divide the variance of the scores by 5 to 240" in page


def test_variates_that_leave_nothing():
    fit = fake_mcem_fit()
    fit = replace(fit, sampling=fit.sampling._replace(reduction=fit.sampling.reduction * 1e20))
    assert "by over a million to over a million" in " ".join(repr(fit.diagnostics).split())


def distance(name: str, laplace: float, estimate: float, in_stderr: float) -> LaplaceDistance:
    percent = 100 * (laplace - estimate) / abs(estimate)
    return LaplaceDistance(name, laplace, estimate, in_stderr, percent)


SENTENCES = [
    ((), ""),
    ((distance("x", 1.0, 1.0, float("nan")),), ""),
    ((distance("x", 0.99, 1.0, -0.02),), "within 0.02 standard errors of every estimate"),
    (
        (distance("sd(students)", 0.4767, 0.4841, -0.61), distance("x", 1.0, 1.0, 0.004)),
        "understates sd(students) by 1.5 % (0.6 standard errors); others within 0.00",
    ),
    (
        (distance("b", -1.2, -1.0, -0.5),),
        "overstates b by 20 % (0.5 standard errors)",
    ),
]


@pytest.mark.parametrize(("distances", "sentence"), SENTENCES)
def test_sentences_on_laplace(distances, sentence):
    assert laplace_sentence(distances) == sentence
