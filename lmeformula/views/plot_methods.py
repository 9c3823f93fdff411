"""View stage: the plots of one fit as methods of what holds it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar, cast

from lmeformula.arguments import kinds
from lmeformula.fit import FittedModel
from lmeformula.views import calibration_plots, correlation_plots, fit_plots, plots

P = ParamSpec("P")
R = TypeVar("R")


def _method(
    draw: Callable[Concatenate[FittedModel, P], R],
) -> Callable[Concatenate[Plots, P], R]:
    """A plot function, whose first argument is the fit, as a method with the other arguments."""
    first, *others = inspect.signature(draw).parameters.values()

    @functools.wraps(draw)
    def method(self: Plots, *args: P.args, **kwargs: P.kwargs) -> R:
        return draw(self._fit, *args, **kwargs)

    signature = inspect.Signature([first.replace(name="self"), *others])
    vars(method)["__signature__"] = signature
    return cast("Callable[Concatenate[Plots, P], R]", kinds.takes()(method))


class Plots:
    """The plots of one fit, as methods: `fit.plot.trace()` is `plots.trace(fit)`."""

    def __init__(self, fit: FittedModel) -> None:
        self._fit = fit

    def __repr__(self) -> str:
        names = [name for name in vars(type(self)) if not name.startswith("_")]
        return f"Plots of a fit: {', '.join(f'.{name}()' for name in names)}"

    convergence = _method(plots.convergence)
    trace = _method(plots.trace)
    residuals = _method(plots.residuals)
    histogram = _method(plots.histogram)
    effects = _method(plots.effects)
    qq = _method(fit_plots.qq)
    ppc = _method(fit_plots.ppc)
    calibration = _method(calibration_plots.calibration)
    correlation = _method(correlation_plots.correlation)
