"""Public calls show their arguments: a method has those of the function behind it, each with its default."""

from __future__ import annotations

import inspect
import pydoc
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

import lmeformula as lf
from lmeformula.views.plot_methods import Plots

# Methods of a fit, and the functions behind them, whose first argument is the fit.
BEHIND = {
    "anova": "inference.anova:anova",
    "augment": "handing.augment:augment",
    "check": "checking.check:check",
    "coef": "prediction.ranef:coef",
    "confint": "inference.confint:confint",
    "cross_validate": "checking.cross_validate:cross_validate",
    "drop1": "inference.drop1:drop1",
    "emmeans": "inference.emmeans:emmeans",
    "export": "serving.export:export",
    "fitted": "prediction.predict:fitted",
    "glance": "inference.tidy:glance",
    "icc": "inference.r2:icc",
    "joint_for": "prediction.joint:joint_for",
    "joint_tests": "inference.joint_tests:joint_tests",
    "predict": "prediction.predictions:predict",
    "profile": "inference.profile:profile",
    "r2": "inference.r2:r2",
    "ranef": "prediction.ranef:ranef",
    "references": "handing.references:references",
    "refit": "inference.refits:refit",
    "residuals": "prediction.residuals:residuals",
    "save": "store.save:save",
    "simulate": "prediction.simulate:simulate",
    "smooths": "inference.smooth_tests:smooths",
    "summary": "views.summary:summary",
    "tidy": "inference.tidy:tidy",
    "to_arviz": "handing.arviz:to_arviz",
    "to_marginaleffects": "inference.marginal_effects:to_marginaleffects",
    "update": "inference.update:update",
}
# Whose function takes several fits alike.
PLACES = ("anova",)


def function(path: str) -> Callable[..., Any]:
    module, name = path.split(":")
    found = getattr(import_module(f"lmeformula.{module}"), name)
    assert callable(found)
    return found


def arguments(call: Callable[..., Any]) -> dict[str, object]:
    """Names and defaults of the arguments after the first."""
    found = list(inspect.signature(call).parameters.values())
    return {one.name: one.default for one in found[1:]}


def methods(kind: type) -> dict[str, Callable[..., Any]]:
    every = {name: getattr(kind, name) for name in vars(kind) if not name.startswith("_")}
    return {name: value for name, value in every.items() if inspect.isfunction(value)}


@pytest.mark.parametrize("name", methods(lf.Fit))
def test_a_method_has_the_arguments_of_its_function(name: str) -> None:
    method = methods(lf.Fit)[name]
    behind = arguments(function(BEHIND[name]))
    if name in PLACES:
        behind = {"others": inspect.Parameter.empty} | behind
    assert arguments(method) == behind


@pytest.mark.parametrize("name", methods(lf.Fit))
def test_a_method_with_arguments_says_where_they_are_explained(name: str) -> None:
    """What `help` finds there, of the method itself or of the function that it names, has a line for each."""
    behind = function(BEHIND[name])
    if not arguments(behind):
        return
    explained = str(inspect.getdoc(methods(lf.Fit)[name]))
    if "\nArgs:\n" not in explained:
        places = re.findall(r"`(lmeformula\.[\w.]+)`", explained)
        assert behind in map(pydoc.locate, places)
        explained = str(inspect.getdoc(behind))
    for argument in arguments(behind):
        assert re.search(rf"^ +(\w+, )*{argument}(, \w+)*: ", explained, re.MULTILINE), argument


# Plots that are drawn in other files than plots.py.
DRAWN = {
    "qq": "views.fit_plots:qq",
    "ppc": "views.fit_plots:ppc",
    "calibration": "views.calibration_plots:calibration",
    "correlation": "views.correlation_plots:correlation",
    "smooth": "views.smooth_plots:smooth",
    "predictions": "views.prediction_plots:predictions",
    "rootogram": "views.check_plots:rootogram",
    "check": "views.check_plots:check",
}


@pytest.mark.parametrize("name", methods(Plots))
def test_a_plot_has_the_arguments_of_its_function(name: str) -> None:
    path = DRAWN.get(name, f"views.plots:{name}")
    assert arguments(methods(Plots)[name]) == arguments(function(path))


def test_every_method_is_in_the_table() -> None:
    assert set(methods(lf.Fit)) == set(BEHIND)


def test_a_fit_takes_what_its_stages_take() -> None:
    taken = inspect.signature(lf.fit).parameters
    stages = (lf.parse, lf.design, lf.compile, lf.estimate)
    behind = {name: default for stage in stages for name, default in arguments(stage).items()}
    behind.pop("memory", None)
    mine = {name: one.default for name, one in taken.items() if name != "formula"}
    mine.pop("data")
    behind.pop("data")
    assert mine == behind


FRONT = ("fit", "parse", "design", "compile", "estimate", "load", "compare", "table")
CALLS = {
    **{f"Fit.{name}": method for name, method in methods(lf.Fit).items()},
    **{f"Plots.{name}": method for name, method in methods(Plots).items()},
    **{name: getattr(lf, name) for name in FRONT},
}


@pytest.mark.parametrize("name", CALLS)
def test_no_call_hides_its_arguments(name: str) -> None:
    kinds = {one.kind for one in inspect.signature(CALLS[name]).parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds


@pytest.mark.parametrize("name", CALLS)
def test_an_unknown_argument_is_named_with_the_call(name: str) -> None:
    call = name.rpartition(".")[2]
    given = list(inspect.signature(CALLS[name]).parameters.values())
    needed = [
        None for one in given if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD
    ]
    near = next((one.name for one in given if one.kind is one.KEYWORD_ONLY), None)
    wrong = "nonsense" if near is None else f"{near}s"
    with pytest.raises(
        TypeError, match=rf"{call}\(\) got an unexpected keyword argument '{wrong}'"
    ) as caught:
        CALLS[name](*needed, **{wrong: 1})
    if near is not None:
        assert f"Did you mean '{near}'?" in str(caught.value)
