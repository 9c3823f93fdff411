"""Fits side by side: what stands where, what is said below, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.errors import ModelError
from tests.prediction.fakes import fake_fit, fake_mcem_fit


def row(table, term):
    return next(row.texts for row in table.rows if row.term == term)


def test_fits_of_different_families_stand_side_by_side():
    """The numbers of the fake fits are chosen: 1.0 (0.4), 0.9 (0.1), sds 0.5, 0.2 and 0.3, sigma 0.5."""
    other = fake_fit("y ~ 1 + (1 | g)", family="poisson", **POISSON)
    table = lf.table(fake_fit(), other, names=["normal", "counts"])
    assert row(table, "Intercept") == ("1.0000 (0.4000)", "2.0000 (0.3000)")
    assert row(table, "x") == ("0.9000 (0.1000)", "")
    assert row(table, "sd(h:Intercept)")[1] == ""
    assert row(table, "sd(g:Intercept)") == ("0.5000", "0.4000")
    assert row(table, "levels of h") == ("2", "")
    assert row(table, "levels of g") == ("3", "3")
    assert row(table, "observations") == ("12", "12")
    assert row(table, "logLik") == ("-7.25", "-7.25")
    assert row(table, "method") == ("exact, ML", "exact, ML")
    assert list(table.to_frame()) == ["part", "term", "normal", "counts"]
    assert "normal and counts cannot be compared" in table.notes[-1]
    assert not any("cor(" in each.term for each in table.rows)
    assert any("Correlations" in note for note in table.notes)


POISSON = {
    "param_names": ("Intercept", "sd(g:Intercept)", "sigma"),
    "param_values": np.array([2.0, 0.4, 0.5]),
    "param_stderr": np.array([0.3, 0.1, 0.1]),
    "param_mc_error": np.zeros(3),
}


def test_every_form_has_the_numbers():
    table = lf.table(fake_fit())
    for text in (repr(table), table.to_markdown(), table.to_latex(), table._repr_html_()):
        assert "0.9000" in text
        assert "-7.25" in text.replace("$-$", "-")


def test_stars_and_exponentials():
    fit = fake_mcem_fit(family="poisson")
    table = lf.table(fit, exponentiate=True, stars=True)
    # exp(0.9) and 0.1 exp(0.9); p of 1.0 / 0.4 is 0.012.
    assert row(table, "x") == ("2.4596*** (0.2460)",)
    assert row(table, "Intercept")[0].startswith("2.718* (1.087)")
    assert "*" not in row(lf.table(fit), "x")[0]
    assert any("Monte Carlo error" in note for note in lf.table(fake_mcem_fit(loglik=NOISY)).notes)


NOISY = fake_fit().loglik._replace(mc_error=0.02)


@pytest.mark.parametrize("names", [["one"], ["a", "a"], ["part", "a"], {"a", "b"}, "ab"])
def test_names_are_one_for_each_fit(names):
    with pytest.raises(ModelError, match="names is"):
        lf.table(fake_fit(), fake_fit(), names=names)


def test_what_is_no_fit_and_what_is_no_ratio_are_refused():
    with pytest.raises(ModelError, match="one fit or more"):
        lf.table()
    with pytest.raises(ModelError, match="identity link"):
        lf.table(fake_fit(), exponentiate=True)
