"""References: which methods bring which papers, and how they print."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lmeformula.family import FAMILIES
from lmeformula.handing.references import references
from tests.prediction.fakes import fake_fit, fake_mcem_fit


def years(fit):
    return {one.of: one.year for one in references(fit)}


def of_family(fit, name):
    return replace(fit, model=replace(fit.model, family=FAMILIES[name]))


def test_an_exact_fit():
    assert years(fake_fit()) == {"model and equations": 2015}
    assert years(fake_fit(reml=True))["restricted likelihood"] == 1971
    assert years(fake_fit(solver="iterative"))["determinants by random probes"] == 1990


def test_a_laplace_fit():
    found = years(of_family(fake_fit(method="laplace"), "cumulative"))
    assert found == {
        "model and equations": 2015,
        "cumulative responses": 1980,
        "Laplace approximation, for likelihood": 1986,
        "its gradient": 2016,
    }


def test_a_fit_by_quadrature():
    found = years(of_family(fake_fit(method="quadrature"), "poisson"))
    assert found["integrals over the random effects"] == 1995
    assert found["their nodes"] == 2014
    assert found["Laplace approximation, for starting values"] == 1986


@pytest.mark.parametrize("source", ["monte carlo", "laplace"])
def test_a_monte_carlo_fit(source):
    found = years(of_family(fake_mcem_fit(information=source), "poisson"))
    assert found["Monte Carlo EM"] == 1990
    assert found["Laplace approximation, for starting values"] == 1986
    assert ("standard errors" in found) == (source == "monte carlo")
    assert found["log-likelihood"] == 1996
    assert "log-likelihood" not in years(fake_mcem_fit())


# Of families that need none: their likelihood is that of all textbooks.
WITHOUT_PAPER = {"gaussian", "lognormal"}


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - WITHOUT_PAPER))
def test_a_family_has_its_paper(name):
    assert f"{name} responses" in years(of_family(fake_fit(method="laplace"), name))


def test_they_print_a_line_each():
    text = repr(references(fake_fit(reml=True)))
    assert text.splitlines()[1] == (
        "restricted likelihood: Patterson, H. D., Thompson, R. (1971). Recovery of inter-block information "
        "when block sizes are unequal. Biometrika 58, 545-554."
    )
