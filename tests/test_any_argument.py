"""Every public call with odd arguments, one at a time: an answer, or an error of ours in words."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import io
import math
import signal
import tempfile
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.errors import ConvergenceError, LmeFormulaError

# A call that takes longer than this on a dozen rows has run away.
SECONDS = 60.0


class Opaque:
    """An object of nobody's, that prints in one line."""

    def __repr__(self) -> str:
        return "<opaque>"


def odd_values() -> dict[str, Any]:
    """By name, values that hardly any argument can be."""
    return {
        "None": None,
        "True": True,
        "3": 3,
        "-1": -1,
        "0": 0,
        "2.5": 2.5,
        "nan": math.nan,
        "inf": math.inf,
        "10**12": 10**12,
        "10**400": 10**400,
        "10**5000": 10**5000,
        "1j": 1j,
        "Decimal": Decimal("sNaN"),
        "date": date(2020, 1, 1),
        "empty text": "",
        "a": "a",
        "NUL": "a\0b",
        "surrogate": "\ud800",
        "long": "a" * 5000,
        "b'a'": b"a",
        "[]": [],
        "()": (),
        "['a']": ["a"],
        "[None]": [None],
        "[[1], [2, 3]]": [[1], [2, 3]],
        "{}": {},
        "{'a': 1}": {"a": 1},
        "{1: None}": {1: None},
        "set": {1, "a"},
        "object": Opaque(),
        "type": int,
        "lambda": lambda *a, **k: None,
        "raises": lambda *a, **k: 1 / 0,
        "frame": pd.DataFrame({"a": [1, 2], "b": ["u", "v"]}),
        "no rows": ROWS.iloc[:0],
        "series": pd.Series([1.0, math.nan], index=["p", "q"]),
        "structured": np.zeros(len(ROWS), [("a", "f8"), ("b", "i4")]),
        "objects": np.array([Opaque()] * len(ROWS), object),
        "complex": np.zeros(len(ROWS), complex),
        "bytes": np.array([b"u"] * len(ROWS)),
        "dates": np.array(["2020-01-01"] * len(ROWS), "M8[D]"),
        "matrix": np.zeros((len(ROWS), 2)),
        "scalar": np.float32(0.5),
        "zero dimensions": np.array(0.5),
        "no values": np.zeros(0),
        "generator": (i for i in range(3)),
    }


RANDOM = np.random.default_rng(5)
ROWS = pd.DataFrame(
    {
        "y": RANDOM.normal(size=24) + np.repeat(RANDOM.normal(size=6), 4),
        "k": RANDOM.poisson(2.0, 24),
        "x": RANDOM.normal(size=24),
        "f": list("uvw") * 8,
        "g": np.repeat(list("abcdef"), 4),
    }
)


@functools.cache
def gaussian() -> lf.Fit:
    return lf.fit("y ~ x + f + (1 | g)", ROWS)


@functools.cache
def poisson() -> lf.Fit:
    return lf.fit("k ~ x + f + (1 | g)", ROWS, "poisson", method="laplace")


class Call(NamedTuple):
    """Something public to be called.

    Attributes:
      name: as it is shown.
      function: what is called.
      given: its arguments that have to be there, or that keep it quick.
      takes: the function whose signature tells the other arguments, where the public one has **options.
    """

    name: str
    function: Callable[..., Any]
    given: dict[str, Any]
    takes: Callable[..., Any]

    def arguments(self) -> list[str]:
        """Names of all its arguments; of further ones by place, "*"."""
        names = []
        for one in inspect.signature(self.takes).parameters.values():
            if one.kind is one.VAR_KEYWORD or one.name in ("fit", "self"):
                continue
            names.append("*" if one.kind is one.VAR_POSITIONAL else one.name)
        return names

    def with_odd(self, argument: str, value: Any) -> Any:
        """Call with one odd argument."""
        if argument == "*":
            return self.function(value, **self.given)
        return self.function(**{**self.given, argument: value})


def home(path: str) -> Any:
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(f"lmeformula.{module}"), name)


def call(name: str, function: Any, takes: str | Any = None, /, **given: Any) -> Call:
    told = home(takes) if isinstance(takes, str) else takes or function
    return Call(name, function, given, told)


def calls_of_the_package() -> Iterator[Call]:
    import tensorflow_probability as tfp

    formula = "y ~ x + (1 | g)"
    yield call("parse", lf.parse, text=formula)
    yield call("design", lf.design, formula=formula, data=ROWS)
    yield call("compile", lf.compile, design=lf.design(formula, ROWS))
    yield call("estimate", lf.estimate, model=lf.compile(lf.design(formula, ROWS)), progress=False)
    yield call("fit", lf.fit, formula=formula, data=ROWS, progress=False)
    yield call(
        "fit of counts",
        lf.fit,
        formula="k ~ x + (1 | g)",
        data=ROWS,
        family="poisson",
        method="laplace",
    )
    yield call("load", lf.load, path=saved())
    yield call("anova", lf.anova)
    yield call("compare", lf.compare)
    yield call("table", functools.partial(lf.table, gaussian()), lf.table)
    yield call(
        "Family",
        lf.Family,
        name="own",
        distribution=lambda mu: tfp.distributions.Poisson(log_rate=mu),
        support="count",
    )
    yield call("em.run", lf.em.run, problem=quadratic())
    yield call("em.from_log_joint", lf.em.from_log_joint, **QUADRATIC)
    yield call("em.from_joint", lf.em.from_joint, joint=None)
    yield call("datasets.load", lf.datasets.load, name="sleepstudy")
    yield call("datasets.describe", lf.datasets.describe, name="sleepstudy")
    yield call(
        "datasets.fetch",
        lf.datasets.fetch,
        package="a",
        item="b",
        attempts=1,
        timeout=0.5,
        base_url="http://127.0.0.1:9",
        cache_dir=tempfile.mkdtemp(),
    )
    for estimator, target in (
        (lf.sklearn.MixedModelRegressor, ROWS["y"]),
        (lf.sklearn.MixedModelClassifier, ROWS["k"] > 2),
    ):
        yield call(estimator.__name__, functools.partial(predicted, estimator, target), estimator)


def log_quadratic(p: Any, u: Any) -> Any:
    import tensorflow as tf

    return -tf.reduce_sum((u - p) ** 2 + u**2)


QUADRATIC: dict[str, Any] = {"log_joint": log_quadratic, "params": 1.0, "latents": [0.0, 0.0]}


@functools.cache
def quadratic() -> Any:
    return lf.em.from_log_joint(**QUADRATIC)


def predicted(estimator: Any, target: pd.Series, **options: Any) -> Any:
    """What an estimator of scikit-learn predicts of its own rows."""
    options.setdefault("formula", "y ~ x + (1 | g)")
    return estimator(**options).fit(ROWS[["x", "g"]], target).predict(ROWS[["x", "g"]])


@functools.cache
def saved() -> Path:
    return gaussian().save(Path(tempfile.mkdtemp()) / "fit.zip", data=True)


def calls_of_a_fit(fit: lf.Fit) -> Iterator[Call]:
    yield call("anova", fit.anova)
    yield call("augment", fit.augment)
    yield call("check", fit.check)
    yield call("confint", fit.confint)
    yield call("confint profile", fit.confint, method="profile", parm="x")
    yield call(
        "confint boot",
        fit.confint,
        "inference.bootstrap.bootstrap_intervals",
        method="boot",
        num_refits=100,
        level=0.9,
    )
    yield call("cross_validate", fit.cross_validate, "checking.cross_validate.cross_validate")
    yield call(
        "cross_validate 2", fit.cross_validate, "checking.cross_validate.cross_validate", folds=2
    )
    yield call("drop1", fit.drop1, "inference.drop1.drop1")
    yield call("emmeans", fit.emmeans, "inference.emmeans.emmeans", specs="f")
    yield call("emmeans slopes", fit.emmeans, "inference.emmeans.emmeans", specs="f", var="x")
    means = fit.emmeans("f")
    yield call("emmeans.contrasts", means.contrasts)
    yield call("emmeans.to_frame", means.to_frame)
    yield call("icc", fit.icc, "inference.r2.icc")
    yield call("r2", fit.r2, "inference.r2.r2")
    yield call("joint_for", fit.joint_for, "prediction.joint.joint_for", newdata=ROWS)
    yield call("joint_tests", fit.joint_tests)
    yield call("predict", fit.predict, "prediction.predict.predict")
    yield call("predict rows", fit.predict, "prediction.predict.predict", newdata=ROWS)
    yield call(
        "predict draws",
        fit.predict,
        "prediction.predict_draws.predict_draws",
        kind="draws",
        newdata=ROWS,
    )
    for interval in ("confidence", "prediction"):
        yield call(
            f"predict {interval}",
            fit.predict,
            "prediction.predict_intervals.predict_interval",
            interval=interval,
            newdata=ROWS,
        )
    yield call("profile", fit.profile, parm="x")
    yield call("profile.confint", fit.profile("x").confint)
    yield call("ranef", fit.ranef)
    yield call("refit", fit.refit, "inference.refits.refit", y=fit.model.design.y)
    yield call("residuals", fit.residuals)
    yield call("simulate", fit.simulate, "prediction.simulate.simulate")
    yield call("simulate rows", fit.simulate, "prediction.simulate.simulate", newdata=ROWS)
    yield call("summary", fit.summary)
    yield call("to_text", fit.summary().to_text)
    yield call("tidy", fit.tidy)
    yield call("to_arviz", fit.to_arviz, "handing.arviz.to_arviz", num_draws=5)
    yield call("to_marginaleffects", fit.to_marginaleffects, data=ROWS)
    yield call("update", fit.update, formula="~ . - x", data=ROWS)
    yield call("save", fit.save, path="fit.zip")
    yield call("export", fit.export, path="served")
    yield call("rebuild", fit.model.design.rebuild, newdata=ROWS)
    yield call("from_dict", lf.Formula.from_dict, record=fit.formula.to_dict())
    for name in (
        "calibration",
        "convergence",
        "correlation",
        "effects",
        "histogram",
        "ppc",
        "qq",
        "residuals",
        "trace",
    ):
        yield call(f"plot.{name}", getattr(fit.plot, name), WIDER.get(name))
    yield call("plot.profile", fit.profile("x").plot)


# Plots that take more than their methods' signatures say.
WIDER = {"ppc": "views.fit_plots.ppc", "calibration": "views.calibration_plots.calibration"}


class RunawayError(Exception):
    """A call did not end in time."""


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise RunawayError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def fault_of(one: Call, argument: str, name: str, value: Any) -> str | None:
    """What is wrong with how a call answers an odd argument; None if nothing is."""
    said = ""
    try:
        with (
            in_time(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            one.with_odd(argument, value)
        return None
    except ConvergenceError:
        return None
    except LmeFormulaError as error:
        said = str(error)
        if len(said) < 20_000:
            return None
        return f"{one.name}({argument}={name}): a message of {len(said)} letters"
    except TypeError as error:
        if "unexpected keyword" in str(error) or "multiple values" in str(error):
            return None
        said = f"TypeError: {error}"
    except OSError:
        # A folder that is not there, a name that is too long: the system's own words, with the path.
        return None
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    return f"{one.name}({argument}={name}): {said[:200]}"


# What starts TensorFlow or refits a hundred times is walked over in the slow tests alone.
LONG = (
    "em.run",
    "em.from_log_joint",
    "em.from_joint",
    "Family",
    "confint boot",
    "joint_for",
    "to_arviz",
    "plot.ppc",
    "check",
    "export",
    "estimate",
)
CALLS = {
    "package": calls_of_the_package,
    "gaussian": lambda: calls_of_a_fit(gaussian()),
    "poisson": lambda: calls_of_a_fit(poisson()),
}


def faults(which: str, share: float) -> list[str]:
    """Of calls, their arguments and odd values, all or some at random."""
    random, found = np.random.default_rng(7), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in CALLS[which]():
            if share < 1.0 and one.name in LONG:
                continue
            for argument in one.arguments():
                for name, value in odd_values().items():
                    if random.random() < share:
                        fault = fault_of(one, argument, name, value)
                        found += [] if fault is None else [fault]
                        if "plot" in one.name:
                            plt.close("all")
    return found


@pytest.mark.parametrize("which", ["package", "gaussian"])
def test_some_odd_arguments(which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert faults(which, 0.015) == []


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("emmeans", "by", "no values"),
        ("emmeans", "by", "no rows"),
        ("update", "method", "matrix"),
        ("update", "solver", "frame"),
        ("update", "reml", "a"),
        ("plot.profile", "axes", "zero dimensions"),
    ],
)
def test_arguments_without_one_truth_are_refused_in_words(name, argument, value):
    one = next(one for one in CALLS["gaussian"]() if one.name == name)
    assert fault_of(one, argument, value, odd_values()[value]) is None


@pytest.mark.slow
@pytest.mark.parametrize("which", list(CALLS))
def test_all_odd_arguments(which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert faults(which, 1.0) == []


def test_a_fault_would_be_seen() -> None:
    def divides(level: float) -> float:
        return 1.0 / level

    assert fault_of(call("divides", divides), "level", "0", 0) is not None
    assert fault_of(call("divides", divides), "level", "a", "a") is not None
    assert fault_of(call("divides", divides), "level", "2.5", 2.5) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda fit: fit.anova(3), "fits is 3"),
        (lambda fit: fit.confint(level="a"), "level is 'a'"),
        (lambda fit: fit.confint(level=2), "level is 2"),
        (lambda fit: fit.simulate(seed="a"), "seed is 'a'"),
        (lambda fit: fit.simulate(seed=-1), "seed is -1"),
        (lambda fit: fit.simulate(10**12), "24 rows times 1,000,000,000,000 responses"),
        (lambda fit: fit.confint("boot", num_refits=10**12), "num_refits is 1000000000000"),
        (lambda fit: fit.predict(kind="draws", num_draws=2.5), "num_draws is 2.5"),
        (lambda fit: fit.predict(ROWS, re_form=3), "re_form is 3"),
        (lambda fit: fit.predict(ROWS, re_form=math.nan), '(?s)re_form is nan.*"NA" for none'),
        (lambda fit: fit.simulate(re_form=False), '(?s)re_form is False.*"NA" for none'),
        (lambda fit: fit.predict(ROWS, re_form={"mu": 3}), r"re_form\['mu'\] is 3"),
        (lambda fit: fit.refit(3), "the new response is 3"),
        (lambda fit: fit.plot.residuals(ax=3), "ax is 3"),
        (lambda fit: fit.r2(mean=math.nan), "mean is nan"),
        (lambda fit: lf.design("y ~ x", ROWS, contrasts=3), "contrasts is 3"),
        (lambda fit: lf.design("y ~ x", ROWS, functions={"f": 3}), r"functions\['f'\] is 3"),
        (lambda fit: lf.fit("y ~ x + (1 | g)", ROWS, progress=3), "progress is 3"),
        (lambda fit: lf.fit("y ~ x + (1 | g)", ROWS, weights=[1.0]), "weights has 1 values for 24"),
        (lambda fit: lf.fit("y ~ x + (1 | g)", ROWS, offset=["a"] * 24), "offset must be numbers"),
        (lambda fit: lf.datasets.load(3), "name is 3"),
        (lambda fit: lf.em.run(3), "problem is 3"),
        (lambda fit: lf.em.from_joint(3), "joint is 3"),
        (lambda fit: lf.fit("y ~ x + (1 | g)", "a.csv"), "(?s)there is no file a.csv.*Parquet"),
        (lambda fit: lf.fit("y ~ x + (1 | g)", ROWS, weights="w"), "weights is 'w', which is not"),
        (lambda fit: lf.estimate(fit), "model is a Fit"),
    ],
)
def test_says_which_argument_is_wrong(given: Callable[[lf.Fit], Any], words: str) -> None:
    with pytest.raises(LmeFormulaError, match=words):
        given(gaussian())


def test_an_argument_that_there_is_not_is_answered_with_what_may_be_meant() -> None:
    with pytest.raises(TypeError, match=r"'Reml'\nDid you mean 'reml'\?") as caught:
        lf.fit("y ~ x + (1 | g)", ROWS, Reml=True)
    assert caught.value.__context__ is None
    with pytest.raises(TypeError, match=r"'nsim'\nIt takes n, seed, re_form"):
        gaussian().simulate(nsim=3)
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'data'"):
        lf.fit("y ~ x + (1 | g)")  # type: ignore[call-arg]


@pytest.mark.parametrize("largest", [7.0, 1e9, 1e300])
def test_a_response_cannot_ask_for_gigabytes(largest: float) -> None:
    data = ROWS.assign(r=np.where(np.arange(24) == 5, largest, 1.0 + np.arange(24) % 4))
    tracemalloc.start()
    try:
        with pytest.raises(LmeFormulaError, match=r"no row has the category 5"):
            lf.fit("r ~ x + (1 | g)", data, "cumulative")
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("family", ["cumulative", "categorical"])
def test_as_many_categories_as_rows_are_refused(family: str) -> None:
    numbers = 1 + np.arange(2000)
    values = numbers if family == "cumulative" else numbers.astype(str)
    data = {"r": values, "g": numbers % 9, "x": np.sin(numbers)}
    with pytest.raises(LmeFormulaError, match="2,000 categories"):
        lf.fit("r ~ x + (1 | g)", data, family)
