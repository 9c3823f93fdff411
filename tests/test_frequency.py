"""Frequencies: all that is said of a fit is what the fit of the repeated rows says, or is refused in words."""

from __future__ import annotations

import functools
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.inference.power import power
from lmeformula.views.plot_methods import Plots
from lmeformula.views.report import write_report

matplotlib.use("Agg")
QUIET: dict[str, Any] = {"progress": False}
# Ascents of the same likelihood to the same maximum, whose rows are added up in another order; one that ends by
# differences ends where it is within a millionth of a standard error.
ROUNDING, BY_DIFFERENCES = 1e-9, 1e-6


@functools.cache
def counted() -> pd.DataFrame:
    """60 rows that stand for 0 to 4 observations each."""
    r = np.random.default_rng(1)
    n = 60
    g, h, x = r.integers(0, 8, n), r.integers(0, 5, n), r.integers(-1, 3, n) / 1.0
    eta = 0.3 + 0.4 * x + r.normal(0.0, 0.7, 8)[g] + r.normal(0.0, 0.4, 5)[h]
    return pd.DataFrame(
        {
            "g": [f"g{i}" for i in g],
            "h": [f"h{i}" for i in h],
            "x": x,
            "a": np.array(list("uvw"))[r.integers(0, 3, n)],
            "y": eta + r.normal(size=n),
            "count": r.poisson(np.exp(eta)),
            "yes": (r.uniform(size=n) < 1.0 / (1.0 + np.exp(-eta))).astype(int),
            "rating": np.digitize(eta + r.logistic(size=n), [-1.0, 0.5, 1.5]) + 1,
            "kind": np.array(list("klm"))[np.digitize(eta + r.logistic(size=n), [-0.5, 1.0])],
            "size": r.integers(1, 6, n),
            "amount": r.gamma(3.0, np.exp(eta) / 3.0),
            "w": r.uniform(0.5, 2.0, n),
            "known": 0.1 * r.normal(size=n),
            "n": r.integers(0, 5, n),
        }
    )


@functools.cache
def repeated() -> pd.DataFrame:
    """The same observations, a row for each."""
    data = counted()
    return data.loc[data.index.repeat(data["n"])].reset_index(drop=True)


# Kinds of fit: formula, family, options.
FITS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "exact": ("y ~ scale(x) + a + (x | g)", "gaussian", {"weights": "w", "offset": "known"}),
    "REML": ("y ~ x + a + (1 | g) + (1 | h)", "gaussian", {"reml": True}),
    "laplace": ("count ~ x + a + (1 | g) + (1 | h)", "poisson", {"method": "laplace"}),
    "quadrature": ("yes ~ x + a + (1 | g)", "bernoulli", {"method": "quadrature"}),
    "mcem": ("count ~ x + a + (1 | g)", "poisson", {"method": "mcem"}),
    "ordered": ("rating ~ x + a + (1 | g)", "cumulative", {"method": "laplace"}),
    "sigma": ({"mu": "y ~ x + a + (1 | g)", "sigma": "~ x"}, "gaussian", {"method": "laplace"}),
}


@functools.cache
def pair(kind: str) -> tuple[lf.Fit, lf.Fit]:
    """The fit of the rows with their frequencies, and that of the repeated rows."""
    formula, family, options = FITS[kind]
    return (
        lf.fit(formula, counted(), family, frequency="n", **options, **QUIET),
        lf.fit(formula, repeated(), family, **options, **QUIET),
    )


def flat(value: Any) -> list[Any]:
    """All numbers and texts of a value, in order."""
    match value:
        case None | bool() | str():
            return [value]
        case pd.DataFrame():
            return [each for name in value for each in (str(name), *flat(value[name]))]
        case pd.Series() | pd.Categorical() | pd.Index():
            return flat(np.asarray(value))
        case Mapping():
            return [each for key in value for each in (str(key), *flat(value[key]))]
        case np.ndarray():
            return [each for one in value.ravel().tolist() for each in flat(one)]
        case int() | float() | np.number():
            return [float(value)]
        case tuple() | list():
            return [each for one in value for each in flat(one)]
    if is_dataclass(value):
        return [each for one in fields(value) for each in flat(getattr(value, one.name))]
    return [str(value)]


def assert_same(found: Any, expected: Any, tolerance: float) -> None:
    """Equal texts, and numbers to a relative tolerance."""
    one, other = flat(found), flat(expected)
    assert len(one) == len(other)
    numbers = [isinstance(each, float) for each in one]
    assert numbers == [isinstance(each, float) for each in other]
    for a, b, is_number in zip(one, other, numbers, strict=True):
        if not is_number:
            assert a == b
    values = [
        np.array([x for x, is_one in zip(v, numbers, strict=True) if is_one]) for v in (one, other)
    ]
    # Numbers that are zero but for rounding are so beside the largest.
    least = tolerance * np.max(np.abs(values[1][np.isfinite(values[1])]), initial=1e-300)
    np.testing.assert_allclose(values[0], values[1], rtol=tolerance, atol=least, equal_nan=True)


def each_row(value: Any) -> Any:
    """What is said of the rows of the table, repeated as these are."""
    used = counted()["n"].to_numpy()
    used = used[used > 0]
    if isinstance(value, pd.DataFrame | pd.Series):
        return value.iloc[np.repeat(np.arange(len(used)), used)].reset_index(drop=True)
    return np.repeat(value, used, axis=0)


def bare(value: Any) -> Any:
    """Without the labels of rows."""
    return value.reset_index(drop=True)


def table_of(fit: lf.Fit) -> pd.DataFrame:
    return counted() if fit.model.design.frequency is not None else repeated()


def saved(fit: lf.Fit, *, data: bool) -> lf.Fit:
    with tempfile.TemporaryDirectory() as folder:
        return lf.load(fit.save(Path(folder) / "fit.zip", data=data))


def drawn(name: str) -> Callable[[lf.Fit], Any]:
    """The numbers that a plot shows."""

    def draw(fit: lf.Fit) -> Any:
        ax = getattr(fit.plot, name)()
        axes = [ax] if hasattr(ax, "lines") else list(np.ravel(ax))
        try:
            lines = [np.asarray(line.get_ydata(), float) for each in axes for line in each.lines]
            bars = [
                bar.get_height()
                for each in axes
                for bar in each.patches
                if hasattr(bar, "get_height")
            ]
            return [*lines, bars, [each.get_title() for each in axes]]
        finally:
            plt.close("all")

    return draw


def estimates(fit: lf.Fit) -> Any:
    return fit.param_values, fit.param_stderr, fit.loglik.value, fit.nobs


NEW = {
    "x": [0.5, -1.0, 2.0],
    "a": ["u", "v", "w"],
    "g": ["g1", "never", "g3"],
    "h": ["h1", "h2", "h0"],
}


def new_rows() -> pd.DataFrame:
    return pd.DataFrame(NEW).assign(w=1.0, known=0.0)


def predictions(fit: lf.Fit) -> Any:
    options = {"new_levels": "sample"}
    return [
        fit.predict(new_rows(), **options),
        fit.predict(new_rows(), interval="confidence", **options),
        fit.predict(new_rows(), interval="prediction", num_draws=200, **options),
        fit.predict(new_rows(), averaged=True, **options),
    ]


# What every public name of a fit says, of the whole: the same numbers.
WHOLE: dict[str, Callable[[lf.Fit], Any]] = {
    "aic": lambda f: f.aic,
    "anova": lambda f: str(f.anova(lf.Fit.of(f.update("~ . - a", table_of(f))))),
    "bic": lambda f: f.bic,
    "check": lambda f: f.check(seed=1),
    "coef": lambda f: f.coef(),
    "confint": lambda f: [
        f.confint(),
        f.confint("profile", parm=f.param_names[1]) if not f.is_drawn else None,
        f.confint("boot", num_refits=100) if f.method in ("exact", "quadrature") else None,
    ],
    "converged": lambda f: f.converged,
    "cross_validate": lambda f: [
        f.cross_validate(by="g").totals() if f.method in ("exact", "quadrature") else None,
        f.cross_validate(3, seed=1).totals(),
    ],
    "deviance": lambda f: f.deviance,
    "df_resid": lambda f: f.df_resid,
    "drop1": lambda f: f.drop1() if not (f.reml or f.is_drawn) else f.drop1("F"),
    "emmeans": lambda f: [
        f.emmeans("a").to_frame(),
        f.emmeans("a", weights="proportional").to_frame(),
        f.emmeans("a", var="x").to_frame(),
    ],
    "family_params": lambda f: f.family_params,
    "fixed_vcov": lambda f: f.fixed_vcov,
    "fixef": lambda f: f.fixef,
    "formula": lambda f: str(f.formula),
    "glance": lambda f: f.glance(),
    "icc": lambda f: f.icc(),
    "information": lambda f: f.information,
    "joint": lambda f: log_prob(f),
    "joint_effects": lambda f: f.joint_effects,
    "joint_for": lambda f: str(f.joint_for(new_rows().iloc[[0, 2]]).event_shape),
    "joint_tests": lambda f: [
        f.joint_tests(),
        f.joint_tests(ddf="satterthwaite") if f.is_exact else None,
        f.joint_tests(ddf="kenward-roger") if f.reml else None,
    ],
    "laplace_values": lambda f: f.laplace_values,
    "loglik": lambda f: f.loglik,
    "mc_error": lambda f: f.mc_error,
    "method": lambda f: f.method,
    "mode_cov": lambda f: f.mode_cov,
    "modes": lambda f: f.modes,
    "nobs": lambda f: f.nobs,
    "outcome": lambda f: f.outcome.name,
    "param_mc_error": lambda f: f.param_mc_error,
    "param_names": lambda f: f.param_names,
    "param_stderr": lambda f: f.param_stderr,
    "param_stderr_error": lambda f: f.param_stderr_error,
    "param_values": lambda f: f.param_values,
    "param_vcov": lambda f: f.param_vcov,
    "params": lambda f: f.params,
    "predict": lambda f: predictions(f),
    "profile": lambda f: f.profile(parm=[f.param_names[1]]).to_frame(),
    "r2": lambda f: f.r2(),
    "ranef": lambda f: f.ranef(),
    "references": lambda f: [str(each) for each in f.references()],
    "refit": lambda f: estimates(f.refit(other_response(f))),
    "reml": lambda f: f.reml,
    "save": lambda f: [estimates(saved(f, data=rows)) for rows in (False, True)],
    "sigma": lambda f: f.sigma,
    "singular": lambda f: f.singular,
    "solver": lambda f: f.solver,
    "stderr": lambda f: f.stderr,
    "theta": lambda f: f.theta,
    "tidy": lambda f: f.tidy(ddf="satterthwaite" if f.is_exact else None),
    "to_arviz": lambda f: inference_data(f),
    "update": lambda f: estimates(f.update("~ . - a", table_of(f))),
    "varcorr": lambda f: f.varcorr.to_frame(),
    "vcov": lambda f: f.vcov,
}
# What has a row for each row of the table.
ROWS: dict[str, Callable[[lf.Fit], Any]] = {
    "augment": lambda f: bare(f.augment()),
    "fitted": lambda f: bare(f.fitted()),
    "predict": lambda f: bare(f.predict(interval="confidence")),
    "residuals": lambda f: pd.DataFrame(
        {kind: bare(f.residuals(kind)) for kind in kinds_of_residuals(f)}
    ),
}
# What is refused, with the fit that answers.
REFUSED: dict[str, Callable[[lf.Fit], Any]] = {
    "residuals": lambda f: bare(f.residuals("quantile")),
    "simulate": lambda f: bare(f.simulate(2, seed=1)),
}
# Texts of how a fit went, which have times or say how many rows the table has; what the answers above stand on.
OF_THE_RUN = {
    *("ascent", "certificate", "diagnostics", "iterations", "resumed", "sampling", "seconds"),
    "summary",
    # Of fits with curves, priors or draws, which those here have none of.
    *("smooths", "priors", "has_priors", "log_prior", "log_posterior", "draws"),
    *("trace", "watched", "model", "plot", "of", "by_observation", "marginal", "export"),
    *("has_modes", "is_drawn", "is_exact", "is_factored", "resumed", "to_marginaleffects"),
}
PLOTS = ("calibration", "check", "effects", "histogram", "ppc", "qq", "residuals")
PLOTS_OF_THE_RUN = {"convergence", "trace", "correlation", "smooth", "predictions", "rootogram"}


def kinds_of_residuals(fit: lf.Fit) -> list[str]:
    kinds = ["response", "pearson"]
    return [*kinds, "deviance"] if fit.model.family.deviance is not None else kinds


def other_response(fit: lf.Fit) -> Any:
    """Another response for each row: those of the table in another order, alike in both."""
    data = counted()
    column = fit.model.design.response_name
    other = np.roll(data[column].to_numpy(), 3)
    used = data["n"].to_numpy()
    if fit.model.design.frequency is not None:
        return other[used > 0]
    return np.repeat(other, used)


def log_prob(fit: lf.Fit) -> float:
    joint = fit.model.tfp_joint
    effects = {name: np.asarray(value) for name, value in fit.joint_effects.items()}
    return float(joint.pin().log_prob(effects))


def inference_data(fit: lf.Fit) -> Any:
    found = fit.to_arviz(num_draws=10, seed=1)
    return [
        np.asarray(found[name].to_array()) for name in ("log_likelihood", "posterior_predictive")
    ]


def test_every_public_name_of_a_fit_is_looked_at():
    names = {name for name in dir(lf.Fit) if not name.startswith("_")}
    assert names == {*WHOLE, *ROWS, *REFUSED} | OF_THE_RUN
    plots = {name for name in dir(Plots) if not name.startswith("_")}
    assert plots == {*PLOTS} | PLOTS_OF_THE_RUN


def answer(call: Callable[[lf.Fit], Any], fit: lf.Fit) -> Any:
    """What a call says; its refusal where it has one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call(fit)
        except ModelError as refusal:
            return f"refused: {refusal.problem}"


# Of many draws or refits there is one kind of fit each; a fit by draws takes its time.
FEW = {
    "mcem": (
        "loglik",
        "param_values",
        "param_stderr",
        "ranef",
        "predict",
        "glance",
        "profile",
        "save",
    )
}
CASES = [(kind, name) for kind in FITS for name in FEW.get(kind, WHOLE)]
# Side by side, as replicates of single observations are, refits end elsewhere within their tolerance.
LOOSER = {("quadrature", "refit"): BY_DIFFERENCES} | {
    ("sigma", name): BY_DIFFERENCES for name in WHOLE
}


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_what_is_said_of_a_fit_is_that_of_the_repeated_rows(kind, name):
    found, expected = (answer(WHOLE[name], fit) for fit in pair(kind))
    assert_same(found, expected, LOOSER.get((kind, name), ROUNDING))


def test_most_of_it_is_said():
    """A refusal by both would be the same, and no answer."""
    refused = [
        (kind, name) for kind in ("exact", "laplace") for name in WHOLE if is_refused(kind, name)
    ]
    assert refused == []


def is_refused(kind: str, name: str) -> bool:
    if name in ("check", "confint", "cross_validate", "profile", "to_arviz"):
        return False
    return str(answer(WHOLE[name], pair(kind)[0])).startswith("refused")


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("kind", ["exact", "laplace", "ordered", "sigma"])
def test_what_is_said_of_rows_is_of_one_of_the_repeated_ones(kind, name):
    fit, expected = pair(kind)
    tolerance = BY_DIFFERENCES if kind == "sigma" else ROUNDING
    assert_same(each_row(ROWS[name](fit)), ROWS[name](expected), tolerance)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("kind", ["exact", "laplace", "ordered"])
def test_what_is_drawn_for_observations_is_refused_with_the_fit_that_draws(kind, name):
    fit, expected = pair(kind)
    with pytest.raises(ModelError, match=r"(?s)are of single observations.*fit\.by_observation"):
        REFUSED[name](fit)
    assert_same(REFUSED[name](fit.by_observation), REFUSED[name](expected), ROUNDING)


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.parametrize("kind", ["exact", "quadrature"])
def test_plots_are_of_observations(kind, name):
    fit, expected = pair(kind)
    assert_same(drawn(name)(fit), drawn(name)(expected), ROUNDING)


def test_a_fit_says_how_many_observations_its_rows_stand_for():
    fit, _ = pair("laplace")
    used = int((counted()["n"] > 0).sum())
    assert f"{used}, which stand for {fit.nobs} observations" in str(fit)
    assert "left out: missing values or a frequency of 0" in " ".join(str(fit.summary()).split())
    assert f"stand for {fit.nobs} observations" in str(fit.model.design)


def test_a_fit_with_a_row_for_each_observation_is_the_same_fit():
    fit, expected = pair("sigma")
    each = fit.by_observation
    assert isinstance(each, lf.Fit)
    assert each.by_observation is each
    assert each.model.design.n == fit.nobs == expected.nobs
    assert expected.by_observation is expected
    assert_same(estimates(each), estimates(fit), 1e-15)
    for part, other in zip(
        each.model.design.predictors, expected.model.design.predictors, strict=True
    ):
        np.testing.assert_array_equal(part.design.X, other.design.X)
    # Which rows of which table they are is not known any more.
    with pytest.raises(lf.FormulaDataError, match="given the frequency as an array"):
        each.update("~ . - x", repeated())


def test_a_fit_without_its_rows_keeps_its_number_of_observations():
    fit, _ = pair("exact")
    found = saved(fit, data=False)
    assert found.nobs == fit.nobs
    assert found.bic == fit.bic
    assert str(found.model.design)
    assert str(found.summary())
    assert_same(
        found.predict(new_rows(), new_levels="sample"),
        fit.predict(new_rows(), new_levels="sample"),
        1e-15,
    )
    with pytest.raises(ModelError, match="loaded without the rows"):
        found.r2()


def test_frequencies_given_as_an_array_are_kept_for_an_update():
    formula, family, options = FITS["laplace"]
    n = counted()["n"]
    fit = lf.fit(formula, counted(), family, frequency=n.to_numpy(), **options, **QUIET)
    assert_same(estimates(fit), estimates(pair("laplace")[0]), 1e-15)
    smaller = fit.update("~ . - a", counted())
    assert_same(estimates(smaller), WHOLE["update"](pair("laplace")[1]), ROUNDING)
    none = fit.update("~ . - a", counted(), frequency=None)
    assert none.nobs == len(counted())
    again = saved(fit, data=True)
    with pytest.raises(
        lf.FormulaDataError, match="given the frequency as an array, which is not saved"
    ):
        again.update("~ . - a", counted())
    assert_same(again.check(seed=1), fit.check(seed=1), ROUNDING)


@pytest.mark.parametrize("kind", ["exact", "laplace"])
def test_refits_of_many_responses_are_those_of_single_ones(kind):
    fit, _ = pair(kind)
    y = np.asarray(fit.model.design.y)
    many = fit.refit(np.column_stack([y, np.roll(y, 3)]))
    alone = fit.refit(np.roll(y, 3))
    np.testing.assert_allclose(many.values[1], alone.param_values, rtol=1e-6)
    np.testing.assert_allclose(many.values[0], fit.param_values, rtol=1e-5, atol=1e-6)


def test_folds_of_labels_are_of_the_rows_of_the_table():
    fit, expected = pair("exact")
    labels = np.arange(len(counted())) % 3
    found = fit.cross_validate(labels)
    other = expected.cross_validate(np.repeat(labels, counted()["n"]))
    assert_same(found.totals(), other.totals(), ROUNDING)
    assert_same(fit.cross_validate(other.folds).totals(), other.totals(), ROUNDING)


def test_fits_of_other_frequencies_are_not_compared():
    formula, family, options = FITS["laplace"]
    fit, expected = pair("laplace")
    data = counted().assign(n=(counted()["n"] > 0).astype(int))
    with pytest.raises(ModelError, match="different weights"):
        fit.anova(lf.fit(formula, data, family, frequency="n", **options, **QUIET))
    with pytest.raises(ModelError, match="different rows"):
        fit.anova(expected)


def test_power_is_of_observations():
    found, expected = (
        power(fit, "x", num_sims=20, seed=1, along="g").to_frame() for fit in pair("quadrature")
    )
    assert_same(found, expected, ROUNDING)


def test_averages_of_marginal_effects_are_over_observations():
    pytest.importorskip("marginaleffects")
    fit, expected = pair("laplace")
    found, other = fit.to_marginaleffects(counted()), expected.to_marginaleffects(repeated())
    np.testing.assert_allclose(found.get_modeldata()["x"].to_numpy().mean(), repeated()["x"].mean())
    assert found.get_modeldata().height == other.get_modeldata().height == fit.nobs


def test_rows_may_be_elsewhere(tmp_path):
    formula, family, options = FITS["laplace"]
    counted().to_parquet(tmp_path / "rows.parquet")
    found = lf.fit(formula, tmp_path / "rows.parquet", family, frequency="n", **options, **QUIET)
    assert_same(estimates(found), estimates(pair("laplace")[0]), 1e-15)


def test_a_report_is_written_of_observations(tmp_path):
    fit, _ = pair("quadrature")
    written = write_report(fit, tmp_path)
    assert written
    assert "stand for" in " ".join(
        path.read_text() for path in written if path.suffix in (".txt", ".html")
    )


def test_so_many_observations_that_they_are_not_repeated():
    data = counted().assign(n=counted()["n"] * 10_000_000)
    formula, family, options = FITS["quadrature"]
    fit = lf.fit(formula, data, family, frequency="n", **options, **QUIET)
    assert fit.nobs == data["n"].sum()
    predictions(fit)
    for name in ("drop1", "emmeans", "joint_tests", "profile", "ranef", "tidy"):
        assert not str(answer(WHOLE[name], fit)).startswith("refused"), name
    with pytest.raises(lf.FormulaDataError, match="are too many for a row each"):
        fit.check()
