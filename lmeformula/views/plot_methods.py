"""View stage: the plots of one fit as methods of what holds it."""

from __future__ import annotations

from typing import Any

from lmeformula.arguments.elsewhere import answer
from lmeformula.arguments.methods import Method
from lmeformula.errors import ArgumentError
from lmeformula.fit import FittedModel
from lmeformula.views import (
    calibration_plots,
    check_plots,
    correlation_plots,
    fit_plots,
    plots,
    prediction_plots,
    smooth_plots,
)


class Plots:
    """The plots of one fit, as methods: `fit.plot.trace()` is `plots.trace(fit)`."""

    def __init__(self, fit: FittedModel) -> None:
        self._fit = fit

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        known = [known for known in vars(type(self)) if not known.startswith("_")]
        raise AttributeError(answer(name, "fit.plot", known, {}) + f". It has {', '.join(known)}")

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """Nothing is drawn by this name alone.

        Raises:
          ArgumentError: always, with the plots that there are.
        """
        raise ArgumentError("fit.plot holds several plots", hint=f"{self!r}")

    def __repr__(self) -> str:
        names = [name for name in vars(type(self)) if not name.startswith("_")]
        return f"Plots of a fit: {', '.join(f'.{name}()' for name in names)}"

    convergence = Method(lambda: plots.convergence, of="_fit")
    trace = Method(lambda: plots.trace, of="_fit")
    residuals = Method(lambda: plots.residuals, of="_fit")
    histogram = Method(lambda: plots.histogram, of="_fit")
    effects = Method(lambda: plots.effects, of="_fit")
    qq = Method(lambda: fit_plots.qq, of="_fit")
    ppc = Method(lambda: fit_plots.ppc, of="_fit")
    calibration = Method(lambda: calibration_plots.calibration, of="_fit")
    correlation = Method(lambda: correlation_plots.correlation, of="_fit")
    predictions = Method(lambda: prediction_plots.predictions, of="_fit")
    rootogram = Method(lambda: check_plots.rootogram, of="_fit")
    check = Method(lambda: check_plots.check, of="_fit")
    smooth = Method(lambda: smooth_plots.smooth, of="_fit")
