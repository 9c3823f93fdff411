"""Which random effects take part in predictions of several predictors, against X beta + Z b by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.prediction.kept_effects import kept_columns
from tests.likelihood.laplace.test_several import simulated

FORMULAS = {
    "mu": "y ~ x + (x | p | g) + (1 | h)",
    # The order of its terms is another one than that of the joint design.
    "sigma": "~ x + (0 + x | h) + (1 | p | g)",
}
# Group and column of the random effects of each predictor.
MU = {"g Intercept", "g x", "h Intercept"}
SIGMA = {"g Intercept", "h x"}
CASES: list[tuple[Any, set[str], set[str]]] = [
    (None, MU, SIGMA),
    ("NA", set(), set()),
    ("~ 0", set(), set()),
    ("~ (1 | g)", {"g Intercept"}, {"g Intercept"}),
    ("~ (1 | p | g)", {"g Intercept"}, {"g Intercept"}),
    # A predictor that lacks a coefficient of the term does not have it.
    ("~ (x | g)", {"g Intercept", "g x"}, set()),
    ("~ (0 + x | h) + (1 | h)", {"h Intercept"}, {"h x"}),
    ({"mu": "~ (1 | g)", "sigma": "~ 0"}, {"g Intercept"}, set()),
    ({"mu": "NA", "sigma": "~ (1 | g)"}, set(), {"g Intercept"}),
    ({"mu": "~ (x | p | g)", "sigma": None}, {"g Intercept", "g x"}, SIGMA),
    # Those that are not named keep all.
    ({"sigma": "~ (0 + x | h)"}, MU, {"h x"}),
    ({}, MU, SIGMA),
]


@cache
def data() -> pd.DataFrame:
    """Rows whose effects are so large that each has a mode that is not zero."""
    rng = np.random.default_rng(1)
    g, h, x = np.repeat(np.arange(16), 15), rng.integers(8, size=240), rng.normal(size=240)
    of_g, of_h = rng.normal(size=(16, 3)) * [0.9, 0.7, 0.6], rng.normal(size=(8, 2)) * [0.8, 0.5]
    y = 1.0 + 0.5 * x + of_g[g, 0] + of_g[g, 1] * x + of_h[h, 0]
    y += np.exp(-0.3 + 0.3 * x + of_g[g, 2] + of_h[h, 1] * x) * rng.normal(size=240)
    return pd.DataFrame({"g": g, "h": h, "x": x, "y": y})


@cache
def scale() -> lf.Fit:
    return lf.fit(FORMULAS, data(), method="laplace")


@cache
def other_data() -> pd.DataFrame:
    return pd.DataFrame(simulated(3))


@cache
def kinds() -> lf.Fit:
    """A fit whose modes are drawn, so that each says whether it is there."""
    fit = lf.fit("kind ~ x + (1 | g) + (1 | h)", other_data(), "categorical", method="laplace")
    rng = np.random.default_rng(6)
    return replace(fit, modes=tuple(rng.normal(size=modes.shape) for modes in fit.modes))


def by_hand(rows: pd.DataFrame, predictor: str, kept: set[str], seen: Any = True) -> np.ndarray:
    """X beta + Z b of one predictor of `scale`, with the effects that are kept."""
    fit, before = scale(), "" if predictor == "mu" else f"{predictor}_"
    beta = fit.fixef
    eta = beta[f"{before}Intercept"] + beta[f"{before}x"] * rows["x"].to_numpy()
    effects = fit.ranef(cond_sd=False).set_index(["group", "term", "level"])["value"].sort_index()
    for group, column in (one.split() for one in kept):
        of_group = effects.loc[group, f"{before}{column}"]
        values = of_group.reindex(rows[group].astype(str)).fillna(0.0).to_numpy()
        eta = eta + values * (1.0 if column == "Intercept" else rows["x"].to_numpy())
    return eta


@pytest.mark.parametrize(("re_form", "of_mu", "of_sigma"), CASES)
def test_predictions_are_those_by_hand(re_form, of_mu, of_sigma):
    fit = scale()
    rows = data().iloc[::3].reset_index(drop=True)
    rows["x"] *= 1.5
    rows.loc[::4, "g"] = 99
    for table, found in (
        (data(), fit.predict(kind="link", re_form=re_form)),
        (rows, fit.predict(rows, kind="link", re_form=re_form, new_levels="population")),
    ):
        for name, kept in (("mu", of_mu), ("sigma", of_sigma)):
            np.testing.assert_allclose(found[name], by_hand(table, name, kept), atol=1e-12)


@pytest.mark.parametrize(("re_form", "of_mu", "of_sigma"), CASES)
def test_intervals_have_the_errors_of_what_is_kept(re_form, of_mu, of_sigma):
    """At given parameters the variance is z' C z, with C the posterior covariance of a level's effects."""
    fit = scale()
    given = {"interval": "confidence", "kind": "link", "include": ["effects"]}
    found = fit.predict(data(), re_form=re_form, **given)
    for name, kept in (("mu", of_mu), ("sigma", of_sigma)):
        half = (found[name, "upper"] - found[name, "estimate"]).to_numpy()
        np.testing.assert_allclose(found[name, "estimate"], by_hand(data(), name, kept), atol=1e-12)
        groups = {one.split()[0] for one in kept}
        if len(groups) > 1:  # whose effects depend on each other
            continue
        variance = np.zeros(len(data()))
        for term, covariance in zip(fit.model.design.terms, fit.mode_cov, strict=True):
            before = "" if name == "mu" else f"{name}_"
            wanted = [f"{term.group} {c.removeprefix(before)}" in kept for c in term.columns]
            is_own = [c.startswith("sigma_") == (name == "sigma") for c in term.columns]
            z = term.values * wanted * is_own
            variance += np.einsum("na,nab,nb->n", z, covariance[term.index], z)
        np.testing.assert_allclose(half, stats.norm.ppf(0.975) * np.sqrt(variance), atol=1e-8)


def test_columns_of_effects_that_are_left_out_are_not_asked_for():
    rows = data()[["x", "g"]]
    found = scale().predict(rows, kind="link", re_form="~ (1 | g)")
    np.testing.assert_allclose(
        found["sigma"], by_hand(data(), "sigma", {"g Intercept"}), atol=1e-12
    )
    alone = scale().predict(rows[["x"]], kind="link", re_form={"mu": "~ 0", "sigma": "NA"})
    np.testing.assert_allclose(alone["mu"], by_hand(data(), "mu", set()), atol=1e-12)
    unseen = data().assign(h=99)
    with pytest.raises(lf.FormulaDataError, match="1 of h"):
        scale().predict(unseen, kind="link", re_form={"mu": "~ (1 | g)"})
    found = scale().predict(unseen, kind="link", re_form={"mu": "~ (1 | g)", "sigma": "~ 0"})
    np.testing.assert_allclose(found["mu"], by_hand(data(), "mu", {"g Intercept"}), atol=1e-12)


def test_categories_keep_effects_one_by_one():
    fit = kinds()
    whole, none = fit.predict(kind="link"), fit.predict(kind="link", re_form="NA")
    of_g, of_h = (fit.predict(kind="link", re_form=f"~ (1 | {name})") for name in "gh")
    np.testing.assert_allclose(of_g + of_h - none, whole, atol=1e-12)
    assert (np.abs(of_g - none).max() > 0.5).all()
    mixed = fit.predict(
        other_data().drop(columns="kind"), kind="link", re_form={"b": "~ (1 | g)", "c": "NA"}
    )
    np.testing.assert_allclose(mixed["b"], of_g["b"], atol=1e-12)
    np.testing.assert_allclose(mixed["c"], none["c"], atol=1e-12)


def test_an_offset_given_as_an_array_is_that_of_each_category():
    offset = np.linspace(-1.0, 1.0, len(other_data()))
    fit = lf.fit("kind ~ x + (1 | g)", other_data(), "categorical", method="laplace", offset=offset)
    found = fit.predict(other_data(), kind="link", re_form={"b": "NA"}, offset=offset)
    here = fit.predict(kind="link", re_form={"b": "NA"})
    np.testing.assert_allclose(found, here, atol=1e-12)


def test_a_predictor_is_known_by_the_names_of_its_family():
    formulas = {"mu": "count ~ x + (1 | g)", "zi": "~ x + (1 | h)"}
    model = lf.compile(lf.design(formulas, other_data()), "zero_inflated_poisson")
    fit: Any = SimpleNamespace(model=model)
    found, other = (kept_columns(fit, {name: "~ 0"}) for name in ("zi", "zero_probability"))
    assert (
        [mask.tolist() for mask in found] == [mask.tolist() for mask in other] == [[True], [False]]
    )


def test_one_predictor_takes_a_mapping_too():
    fit = lf.fit("y ~ x + (1 | g) + (1 | h)", data())
    one, other = (fit.predict(re_form=form) for form in ("~ (1 | g)", {"mu": "~ (1 | g)"}))
    pd.testing.assert_series_equal(one, other)


def test_draws_keep_whole_terms():
    fit = scale()
    kept = {"mu": "~ (x | g) + (1 | h)", "sigma": "~ (1 | g)"}
    drawn = fit.simulate(300, seed=3, re_form=kept)
    # What is drawn anew, sigma's slopes in h, has a mean of zero, and moves no mean.
    sd = drawn.std(axis=1) / np.sqrt(300)
    off = (drawn.mean(axis=1) - by_hand(data(), "mu", MU)) / sd
    assert np.abs(off).max() < 4.5
    for call in (
        fit.simulate,
        fit.plot.ppc,
        lambda **options: fit.predict(kind="draws", **options),
    ):
        with pytest.raises(ModelError, match="part of the term on g"):
            call(re_form={"mu": "~ (x | g)", "sigma": "~ 0"})


@pytest.mark.parametrize(
    ("re_form", "message"),
    [
        (
            "~ (1 | k)",
            r"no random-effects term \(1 \| k\)\nmu has \(1 \+ x \| p \| g\), \(1 \| h\); sigma",
        ),
        ("~ (z | g)", r"no coefficient z of \(1 \+ z \| g\)"),
        (
            {"sigma": "~ (x | g)"},
            r"no coefficient x of \(1 \+ x \| g\)(.|\n)*It has \(0 \+ x \| h\)",
        ),
        ({"nu": "~ 0"}, "the predictor 'nu', and the fit has mu, sigma"),
        ({"sigma": "some"}, "re_form is 'some'"),
        ({"sigma": 3}, r"re_form\['sigma'\] is 3"),
        (3, "re_form is 3"),
    ],
)
def test_what_the_fit_does_not_have_is_refused(re_form: str | Mapping[str, Any], message: str):
    with pytest.raises(ModelError, match=message):
        scale().predict(re_form=re_form)


def test_what_the_whole_population_has_is_kept_without_random_effects():
    """As a smooth's wiggles will be: its effects belong to the mean that re_form="NA" asks for."""
    rng = np.random.default_rng(3)
    table = {"g": np.repeat(np.arange(6), 5), "h": np.tile(np.arange(5), 6)}
    table["y"] = (
        rng.normal(size=6)[table["g"]] + rng.normal(size=5)[table["h"]] + rng.normal(size=30)
    )
    fit = lf.fit("y ~ 1 + (1 | g) + (1 | h)", table)
    first, second = fit.model.design.terms
    design = replace(fit.model.design, terms=(replace(first, role="population"), second))
    kept = replace(fit, model=replace(fit.model, design=design))
    for re_form in ("NA", "~ 0", "~ (1 | g)"):
        np.testing.assert_array_equal(
            kept.predict(re_form=re_form), fit.predict(re_form="~ (1 | g)"), err_msg=re_form
        )
    np.testing.assert_array_equal(kept.predict(), fit.predict())
    np.testing.assert_array_equal(kept.predict(re_form="~ (1 | h)"), fit.predict())
