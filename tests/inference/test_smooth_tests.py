"""Tests of smooths: the distribution of their statistic, and what they say of curves that are there or not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats

import lmeformula as lf
from lmeformula.inference.smooth_curves import smooth_curves
from lmeformula.inference.smooth_tests import above, wood_test

DRAWS = 400_000


def table(seed: int = 1) -> pd.DataFrame:
    r = np.random.default_rng(seed)
    n = 120
    data = pd.DataFrame({"x": r.uniform(size=n).round(3), "z": r.uniform(size=n).round(3)})
    data["w"] = r.normal(size=n)
    data["g"] = np.array([f"g{i}" for i in range(8)])[np.arange(n) % 8]
    effect = dict(zip(sorted(set(data["g"])), r.normal(size=8), strict=True))
    data["y"] = np.sin(6.0 * data["x"]) + data["g"].map(effect) + 0.3 * r.normal(size=n)
    return data


DATA = table()


@pytest.mark.parametrize(
    ("k", "share", "statistic", "residual"),
    [(1, 0.3, 3.0, np.inf), (2, 0.5, 4.0, np.inf), (6, 0.9, 15.0, 40.0), (3, 0.4, 8.0, 12.0)],
)
def test_chances_are_those_of_draws(k, share, statistic, residual):
    r = np.random.default_rng(k)
    spread = np.sqrt(1.0 - share**2)
    drawn = (1.0 + share + spread) / 2.0 * r.chisquare(1, DRAWS)
    drawn += (1.0 + share - spread) / 2.0 * r.chisquare(1, DRAWS)
    drawn += r.chisquare(k - 1, DRAWS) if k > 1 else 0.0
    if np.isfinite(residual):
        drawn = drawn / (r.chisquare(residual, DRAWS) / residual)
    found, chance = above(statistic, share, k, residual), float(np.mean(drawn > statistic))
    assert abs(found - chance) < 4.5 * np.sqrt(chance / DRAWS)


def test_chances_of_whole_ranks_are_chi_squares_and_fs():
    assert above(9.0, 0.0, 4) == pytest.approx(scipy.stats.chi2.sf(9.0, 4))
    assert above(9.0, 0.0, 4, 30.0) == pytest.approx(scipy.stats.f.sf(9.0 / 4, 4, 30.0))
    assert above(9.0, 1.0 - 1e-9, 4) == pytest.approx(above(9.0, 0.0, 5), rel=1e-4)
    assert 0.0 < above(300.0, 0.4, 6) < 1e-50


def test_a_test_of_full_rank_is_walds():
    r = np.random.default_rng(3)
    values, beta = r.normal(size=(30, 4)), r.normal(size=4)
    root = r.normal(size=(4, 4))
    statistic, p_value = wood_test(values, beta, root @ root.T, 4.0, np.inf)
    expected = beta @ np.linalg.solve(root @ root.T, beta)
    assert statistic == pytest.approx(expected)
    assert p_value == pytest.approx(scipy.stats.chi2.sf(expected, 4))


def test_a_curve_is_told_from_none():
    fit = lf.fit("y ~ s(x) + s(z) + (1 | g)", DATA, reml=True)
    found = fit.smooths().set_index("smooth")
    assert found.loc["s(x)", "p_value"] < 1e-10
    assert found.loc["s(z)", "p_value"] > 0.01
    assert 3.0 < found.loc["s(x)", "edf"] < 9.0
    text = str(fit.summary())
    assert "Smooths" in text
    assert "8 coefficients" in text
    assert "edf" not in str(lf.fit("y ~ x + (1 | g)", DATA).summary())


def test_a_straight_line_has_one_degree_of_freedom():
    straight = DATA.assign(y=2.0 * DATA["x"] + np.random.default_rng(9).normal(size=len(DATA)))
    (edf,) = lf.fit("y ~ s(x)", straight, reml=True).smooths()["edf"]
    assert 1.0 <= edf < 2.0


def test_curves_are_predictions_less_the_rest():
    fit = lf.fit("y ~ s(x) + (1 | g)", DATA, reml=True)
    (curve,) = smooth_curves(fit, num_points=7)
    rows = pd.DataFrame({"x": curve.points[:, 0], "g": "g0"})
    rest = fit.params.beta[0] + fit.ranef().query("group == 'g'")["value"].iloc[0]
    np.testing.assert_allclose(curve.estimate, fit.predict(rows) - rest, atol=1e-9)
    alone = fit.predict(rows, re_form="NA", interval="confidence", level=0.95)
    # The intercept is all but independent of a curve that adds up to zero.
    half = ((alone.iloc[:, 2] - alone.iloc[:, 1]) / 2.0).to_numpy()
    assert (half > curve.high - curve.estimate).all()


def test_pictures_have_a_panel_for_each_curve():
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    fit = lf.fit("y ~ s(x, k = 5) + s(z, bs = 'cr', k = 4) + (1 | g)", DATA)
    axes = fit.plot.smooth()
    assert [ax.get_title(loc="left") for ax in axes] == ["s(x, k = 5)", 's(z, bs = "cr", k = 4)']
    with pytest.raises(lf.ModelError, match="1 axes for 2 smooths"):
        fit.plot.smooth(axes=[axes[0]])
    plt.close("all")
    with pytest.raises(lf.ModelError, match="no smooths"):
        lf.fit("y ~ x + (1 | g)", DATA).plot.smooth()


def test_what_takes_fixed_effects_for_all_is_refused():
    fit = lf.fit("y ~ s(x, k = 5) + z + (1 | g)", DATA)
    with pytest.raises(lf.ModelError, match="where there are smooths"):
        fit.joint_tests()
    rank = np.digitize(DATA["y"], np.quantile(DATA["y"], [0.3, 0.7])) + 1
    ordered = lf.fit(
        "rank ~ s(x, k = 4) + (1 | g)", DATA.assign(rank=rank), "cumulative", method="laplace"
    )
    assert ordered.smooths()["edf"].iloc[0] > 1.0
    with pytest.raises(lf.ModelError, match="ordered categories"):
        ordered.emmeans("x")
    assert list(fit.drop1()["term"]) == ["<none>", "z"]
    assert set(fit.coef()) == {"g"}


@pytest.mark.parametrize(
    ("formula", "family", "kind"),
    [
        ("y ~ a + s(x, by = a, k = 4) + (1 | g)", "gaussian", "link"),
        ("count ~ a + s(x, k = 5) + (1 | g)", "poisson", "response"),
        ({"mu": "y ~ a + s(x, k = 4) + (1 | g)", "sigma": "~ s(x, k = 4)"}, "gaussian", "link"),
    ],
)
def test_marginal_means_have_curves_and_their_errors(formula, family, kind):
    """At one value of all else they are predictions of the population, with the same errors."""
    data = DATA.assign(a=np.array(list("uvw"))[np.arange(len(DATA)) % 3])
    data["count"] = np.random.default_rng(2).poisson(np.exp(data["y"] - data["y"].mean()))
    method = "auto" if family == "gaussian" and isinstance(formula, str) else "laplace"
    fit = lf.fit(formula, data, family, method=method)
    means = fit.emmeans("a", at={"x": 0.3}, kind=kind)
    found = means.to_frame()
    rows = pd.DataFrame({"a": list("uvw"), "x": 0.3})
    expected = fit.predict(rows, re_form="NA", kind=kind, interval="confidence").to_numpy(copy=True)
    np.testing.assert_allclose(found["estimate"], expected[:, 0], atol=1e-9)
    half = (expected[:, 2] - expected[:, 1]) / 2.0
    if kind == "link":
        np.testing.assert_allclose(1.959963984540054 * found["std_error"], half, rtol=1e-6)
    else:
        np.testing.assert_allclose(found["conf_high"], expected[:, 2], rtol=1e-9)
    assert len(means.contrasts().to_frame()) == 3


def test_marginal_means_of_a_group_have_its_degrees_of_freedom():
    fit = lf.fit("y ~ s(x, k = 5) + (1 | g)", DATA, reml=True)
    (df,) = fit.emmeans("x", at={"x": 0.3}).to_frame()["df"]
    assert 5.0 < df < 9.0


def test_saved_fits_and_other_statistics_know_curves(tmp_path):
    fit = lf.fit("y ~ t2(x, z, k = 4) + s(z, by = w, k = 5) + s(x, g, bs = 'fs', k = 4)", DATA)
    again = lf.load(fit.save(tmp_path / "fit.zip"), data=DATA)
    new = DATA.head(4).assign(g=["g1", "g2", "never", "g0"])
    for one in (fit, again):
        with pytest.raises(lf.FormulaDataError, match="never"):
            one.predict(new)
    found = fit.predict(new, new_levels="population")
    np.testing.assert_array_equal(again.predict(new, new_levels="population"), found)
    kept = fit.predict(new, re_form="NA")
    assert kept.iloc[2] == pytest.approx(found.iloc[2])
    np.testing.assert_allclose(again.smooths()["edf"], fit.smooths()["edf"])
    assert len(fit.simulate(2, seed=1).columns) == 2
    assert "t2" in str(fit.model.equation())
    bare = lf.load(fit.save(tmp_path / "bare.zip"))
    np.testing.assert_array_equal(bare.predict(new, new_levels="population"), found)
    assert "Smooths" not in str(bare.summary())
